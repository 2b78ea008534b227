import pytest

from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.fake import Behaviour, run_fake_expert
from experts.local.speed import Speed, measure_speed
from tests.integration.experts.conftest import make_expert

WORDS = " ".join(["word"] * 40)


async def test_tokens_are_counted_alone_and_together(client: ExpertClient) -> None:
    with run_fake_expert(Behaviour(reply=WORDS, token_delay_s=0.002)) as fake:
        speed = await measure_speed(client, make_expert(fake.endpoint), streams=4, seconds=30)
        assert fake.log.started == 5
    assert speed.first_token_s is not None
    assert speed.tokens_per_s is not None and 0 < speed.tokens_per_s <= 1 / 0.002
    # Four answers side by side are bounded by four times the pace of one.
    assert speed.together_per_s is not None and 0 < speed.together_per_s <= 4 / 0.002


async def test_as_many_are_asked_at_once_as_the_server_takes(client: ExpertClient) -> None:
    with run_fake_expert(Behaviour(reply=WORDS)) as fake:
        speed = await measure_speed(client, make_expert(fake.endpoint, max_in_flight=3), seconds=30)
        assert (speed.streams, fake.log.started) == (3, 4)


async def test_a_silent_expert_has_no_known_speed_and_is_left(client: ExpertClient) -> None:
    with run_fake_expert(Behaviour(delay_s=60)) as fake:
        speed = await measure_speed(client, make_expert(fake.endpoint), streams=2, seconds=0.2)
    assert speed == Speed(None, None, None, streams=2)
    assert speed.answer_s(150) is None


async def test_an_answer_that_goes_on_is_cut_and_counted_so_far(client: ExpertClient) -> None:
    with run_fake_expert(Behaviour(reply=" ".join(["word"] * 100_000), token_delay_s=0.01)) as fake:
        speed = await measure_speed(client, make_expert(fake.endpoint), streams=2, seconds=2)
    assert speed.tokens_per_s is not None and 0 < speed.tokens_per_s <= 100


async def test_a_refusal_is_the_experts_error(client: ExpertClient) -> None:
    with run_fake_expert(Behaviour(status=500)) as fake, pytest.raises(ExpertError):
        await measure_speed(client, make_expert(fake.endpoint), streams=2, seconds=30)


async def test_an_expert_that_is_not_there_is_an_error(client: ExpertClient, expert: Expert) -> None:
    gone = expert.model_copy(update={"endpoint": "http://127.0.0.1:9/v1"})
    with pytest.raises(ExpertError):
        await measure_speed(client, gone, streams=2, seconds=30)


def test_an_answer_takes_its_first_token_and_then_its_pace() -> None:
    assert Speed(2.0, 10.0, None, 8).answer_s(150) == 17.0
