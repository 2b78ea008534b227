"""An expert answers prompt building: seeds where they matter, trouble waited out, tokens as told."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from experts.asking import ExpertAsk, Usage
from experts.client import ExpertClient
from experts.errors import ExpertBadReply, ExpertBusy, ExpertError, ExpertRejected, ExpertUnavailable
from experts.expert import Expert
from experts.fake import Behaviour, RunningFake, run_fake_expert
from prompts.mixture.call_budget import PromptTooLong


def expert_at(endpoint: str) -> Expert:
    return Expert(name="toy", endpoint=endpoint, model="toy", params_b=1.0, context_length=4096)


@pytest.fixture
def fake() -> Iterator[RunningFake]:
    with run_fake_expert(Behaviour(reply="two words"), models=["toy"]) as running:
        yield running


HELLO = [{"role": "user", "content": "Hello"}]


async def test_an_answer_comes_with_its_tokens_and_its_usage_is_told(fake: RunningFake) -> None:
    told: list[Usage] = []
    async with ExpertClient() as client:
        ask = ExpertAsk(client, expert_at(fake.endpoint), tell=told.append)
        found = await ask(HELLO, max_tokens=9, temperature=0.0, seed=0)
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("two words", 2, 2)
    assert [usage["total_tokens"] for usage in told] == [4]
    assert fake.log.last["max_tokens"] == 9


async def test_only_answers_that_are_drawn_carry_a_seed(fake: RunningFake) -> None:
    async with ExpertClient() as client:
        ask = ExpertAsk(client, expert_at(fake.endpoint))
        said = [{"role": "user", "content": "Hello"}]
        await ask(said, max_tokens=4, temperature=0.0, seed=7)
        assert "seed" not in fake.log.last
        await ask(said, max_tokens=4, temperature=0.9, seed=7)
        assert fake.log.last["seed"] == 7


async def test_a_moment_of_trouble_is_waited_out() -> None:
    seen = 0

    def fails_once(body: Mapping[str, Any]) -> Behaviour:
        nonlocal seen
        seen += 1
        return Behaviour(status=503) if seen == 1 else Behaviour(reply="Here I am")

    with run_fake_expert(fails_once, models=["toy"]) as shaky:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(shaky.endpoint))
            found = await ask([{"role": "user", "content": "Hello"}], max_tokens=4, temperature=0.0, seed=0)
    assert found.text == "Here I am"


async def test_a_prompt_that_does_not_fit_is_told_as_that() -> None:
    with run_fake_expert(models=["toy"], context_length=5) as small:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(small.endpoint))
            with pytest.raises(PromptTooLong):
                await ask([{"role": "user", "content": "a " * 20}], max_tokens=4, temperature=0.0, seed=0)


async def test_what_does_not_pass_is_raised_after_a_few_tries() -> None:
    with run_fake_expert(Behaviour(status=503), models=["toy"]) as down:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(down.endpoint))
            with pytest.raises(ExpertUnavailable):
                await ask(HELLO, max_tokens=4, temperature=0.0, seed=0)
        assert down.log.started == 3


async def test_an_expert_that_has_answered_is_waited_for_longer(fake: RunningFake) -> None:
    failures = 6
    seen = 0

    def starts_again(body: Mapping[str, Any]) -> Behaviour:
        nonlocal seen
        seen += 1
        return (
            Behaviour(status=429 if seen % 2 else 503) if 1 < seen <= 1 + failures else Behaviour(reply="ok")
        )

    heard: list[ExpertError] = []
    with run_fake_expert(starts_again, models=["toy"]) as shaky:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(shaky.endpoint), trouble=heard.append, pause_s=0.001)
            for _ in range(2):
                found = await ask(HELLO, max_tokens=4, temperature=0.0, seed=0)
    assert found.text == "ok"
    assert {type(each) for each in heard} == {ExpertUnavailable, ExpertBusy}
    assert len(heard) == failures


async def test_an_expert_that_answers_rubbish_is_not_waited_for_longer() -> None:
    seen = 0

    def turns_bad(body: Mapping[str, Any]) -> Behaviour:
        nonlocal seen
        seen += 1
        return Behaviour(rubbish_after=0) if seen > 1 else Behaviour(reply="ok")

    with run_fake_expert(turns_bad, models=["toy"]) as bad:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(bad.endpoint), pause_s=0.001)
            await ask(HELLO, max_tokens=4, temperature=0.0, seed=0)
            with pytest.raises(ExpertBadReply):
                await ask(HELLO, max_tokens=4, temperature=0.0, seed=0)
    assert seen == 1 + 3


async def test_a_request_that_is_wrong_is_not_sent_again() -> None:
    with run_fake_expert(Behaviour(status=400), models=["toy"]) as strict:
        async with ExpertClient() as client:
            ask = ExpertAsk(client, expert_at(strict.endpoint))
            with pytest.raises(ExpertRejected):
                await ask(HELLO, max_tokens=4, temperature=0.0, seed=0)
        assert strict.log.started == 1
