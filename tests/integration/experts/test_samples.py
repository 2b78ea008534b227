"""Experts that answer from several samples: what is asked, and which sample is the answer."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from experts.client import ExpertClient
from experts.errors import ContextTooLong, ExpertError, ExpertRejected
from experts.expert import Expert
from experts.expert_replies import raw_bytes
from experts.fake import Behaviour, RunningFake, run_fake_expert
from tests.integration.experts.conftest import ask, make_expert

SUM = "How many is 3 + 4?"
VOTES = ("The answer is 7.", "The answer is 12.", "I get 7.")


@pytest.fixture(scope="module")
def voting() -> Iterator[RunningFake]:
    """A server that takes `n`; its second choice is the surest."""
    with run_fake_expert(Behaviour(choices=VOTES, surest=1)) as running:
        yield running


def arm(fake: RunningFake, **fields: Any) -> Expert:
    return make_expert(fake.endpoint, **{"sampling": {"temperature": 0.8, "n": 3}, **fields})


def text_of(reply: Any) -> str:
    (choice,) = reply.body["choices"]
    assert choice["index"] == 0
    return str(choice["message"]["content"])


async def test_the_majority_of_final_answers_is_the_answer_of_one_request(
    client: ExpertClient, voting: RunningFake
) -> None:
    before = voting.log.started
    reply = await client.complete(arm(voting), ask(SUM))
    assert text_of(reply) == VOTES[0]
    assert reply.body["usage"]["completion_tokens"] == sum(len(each.split()) for each in VOTES)
    assert reply.samples is not None
    assert (reply.samples.asked, reply.samples.answered) == (3, 3)
    assert (reply.samples.selected, reply.samples.agreed) == ("majority", 2 / 3)
    assert (voting.log.started - before, voting.log.last["n"]) == (1, 3)


async def test_the_surest_sample_is_the_answer_by_log_probability(
    client: ExpertClient, voting: RunningFake
) -> None:
    reply = await client.complete(arm(voting, select="logprob"), ask(SUM))
    assert text_of(reply) == VOTES[1]
    assert reply.samples is not None
    assert (reply.samples.selected, reply.samples.agreed) == ("logprob", 1 / 3)
    assert voting.log.last["logprobs"] is True
    assert reply.body["choices"][0]["logprobs"] is None
    shown = await client.complete(arm(voting, select="logprob"), ask(SUM, logprobs=True))
    assert shown.body["choices"][0]["logprobs"]["content"]


async def test_without_log_probabilities_the_majority_decides(client: ExpertClient) -> None:
    with run_fake_expert(lambda body: Behaviour(choices=VOTES, confidence=None)) as fake:
        reply = await client.complete(arm(fake, select="logprob"), ask(SUM))
    assert text_of(reply) == VOTES[0]
    assert reply.samples is not None
    assert reply.samples.selected == "majority"


async def test_free_text_is_answered_by_the_sample_most_like_the_others(client: ExpertClient) -> None:
    texts = ("green is nice", "blue is a calm colour", "blue is a very calm colour")
    with run_fake_expert(Behaviour(choices=texts)) as fake:
        reply = await client.complete(arm(fake), ask("Tell me of a colour that you like."))
    assert text_of(reply) == texts[1]
    assert reply.samples is not None
    assert reply.samples.agreed is None


async def test_a_streamed_answer_is_the_selected_one(client: ExpertClient, voting: RunningFake) -> None:
    async with client.stream(arm(voting), ask(SUM)) as stream:
        sse = b"".join([raw_bytes(events) async for events in stream])
    assert VOTES[0].encode() in sse
    assert VOTES[1].encode() not in sse
    assert stream.samples is not None
    assert stream.samples.agreed == 2 / 3
    assert stream.usage is not None
    assert stream.usage["completion_tokens"] == sum(len(each.split()) for each in VOTES)


def in_turn(refuses: bool = False, fails_after: int | None = None) -> Any:
    """One of `VOTES` a request; several choices are refused or left out."""
    count = Counter[str]()

    def choose(body: Mapping[str, Any]) -> Behaviour:
        if refuses and body.get("n", 1) > 1:
            return Behaviour(status=400, error={"message": "Only one choice is supported.", "param": "n"})
        count["asked"] += 1
        if fails_after is not None and count["asked"] > fails_after:
            return Behaviour(status=500)
        return Behaviour(reply=VOTES[(count["asked"] - 1) % 3], most_choices=1)

    return choose


@pytest.mark.parametrize(("refuses", "requests"), [(False, (3, 3)), (True, (4, 3))])
async def test_samples_that_one_request_does_not_give_are_asked_for_one_by_one(
    client: ExpertClient, refuses: bool, requests: tuple[int, int]
) -> None:
    with run_fake_expert(in_turn(refuses)) as fake:
        for expected in requests:
            before = fake.log.started
            reply = await client.complete(arm(fake), ask(SUM, seed=5))
            assert text_of(reply) in {VOTES[0], VOTES[2]}
            assert reply.samples is not None
            assert (reply.samples.answered, reply.samples.agreed) == (3, 2 / 3)
            assert fake.log.started - before == expected
            single = [body["seed"] for body in fake.log.bodies[-2:]]
            assert len({*single, 5 * 16}) == 3
        told, alone = reply.body["usage"], await client.complete(make_expert(fake.endpoint), ask(SUM))
    assert told["completion_tokens"] == sum(len(each.split()) for each in VOTES)
    assert told["prompt_tokens"] == 3 * alone.body["usage"]["prompt_tokens"]


async def test_samples_that_fail_leave_an_answer_of_the_others(client: ExpertClient) -> None:
    with run_fake_expert(in_turn(fails_after=1)) as fake:
        reply = await client.complete(arm(fake), ask(SUM))
        assert reply.samples is not None
        assert (reply.samples.asked, reply.samples.answered) == (3, 1)
    with run_fake_expert(in_turn(fails_after=0)) as fake, pytest.raises(ExpertError):
        await client.complete(arm(fake), ask(SUM))


async def test_what_is_wrong_with_a_request_is_told_as_for_one_sample(client: ExpertClient) -> None:
    wrong = Behaviour(status=400, error={"message": "No such thing."})
    with run_fake_expert(wrong) as fake, pytest.raises(ExpertRejected):
        await client.complete(arm(fake), ask(SUM))
    with run_fake_expert(context_length=3) as fake:
        with pytest.raises(ContextTooLong):
            await client.complete(arm(fake), ask("one two three four five six"))
        assert fake.log.started == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"temperature": 0},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]},
    ],
)
async def test_some_requests_are_answered_as_by_the_model_itself(
    client: ExpertClient, voting: RunningFake, fields: dict[str, Any]
) -> None:
    reply = await client.complete(arm(voting), ask(SUM, **fields))
    assert reply.samples is None
    assert voting.log.last.get("n") == fields.get("n")
    assert len(reply.body["choices"]) == fields.get("n", 1)


async def test_one_choice_asked_for_is_one_choice_of_several_samples(
    client: ExpertClient, voting: RunningFake
) -> None:
    reply = await client.complete(arm(voting), ask(SUM, n=1))
    assert text_of(reply) == VOTES[0]
    assert voting.log.last["n"] == 3
