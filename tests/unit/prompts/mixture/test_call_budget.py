"""Calls: bounded, none twice, and billed."""

import asyncio

import pytest

from base.reply import Reply
from base.usage import TokenUsage
from prompts.mixture.call_budget import Asking, Call, Messages, PrefixCache
from prompts.mixture.mixture import MixtureError
from tests.unit.prompts.mixture.world import ToyModel


def call(text: str, seed: int = 0) -> Call:
    return Call(({"role": "user", "content": text},), 8, 0.0, seed)


class Slow:
    """Answers after a moment, and knows how many it answered at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002 if messages[0]["content"] == "first" else 0)
        self.now -= 1
        return Reply(messages[0]["content"])


async def test_answers_come_in_the_order_of_their_calls() -> None:
    asking = Asking(Slow(), concurrency=4, max_calls=9)
    answers = await asking.all("x", [call("first"), call("second")])
    assert [answer.text for answer in answers if answer] == ["first", "second"]


async def test_as_many_are_in_flight_as_agreed_and_no_more() -> None:
    slow = Slow()
    await Asking(slow, concurrency=3, max_calls=99).all("x", [call(str(n)) for n in range(30)])
    assert slow.most == 3


async def test_the_same_question_is_asked_once() -> None:
    model = ToyModel()
    asking = Asking(model, concurrency=2, max_calls=3)
    await asking.all("x", [call("a"), call("a"), call("b")])
    await asking.all("x", [call("b"), call("a"), call("a", seed=1)])
    assert (len(model.seen), asking.bill.calls) == (3, 3)


async def test_more_calls_than_agreed_are_not_begun() -> None:
    model = ToyModel()
    asking = Asking(model, concurrency=2, max_calls=3)
    await asking.all("x", [call("a"), call("b")])
    with pytest.raises(MixtureError, match="raise max_calls"):
        await asking.all("y", [call("c"), call("d")])
    assert len(model.seen) == 2


async def test_the_first_failure_is_raised_as_it_is() -> None:
    asking = Asking(ToyModel(fails_after=2), concurrency=1, max_calls=9)
    with pytest.raises(ConnectionError, match="the model is gone"):
        await asking.all("x", [call(str(n)) for n in range(5)])


async def test_after_a_failure_no_further_call_is_begun() -> None:
    begun: list[str] = []

    async def ask(messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        begun.append(messages[0]["content"])
        if messages[0]["content"] == "fails":
            raise ConnectionError("the model is gone")
        await asyncio.sleep(60)
        return Reply("")

    asking = Asking(ask, concurrency=2, max_calls=9)
    with pytest.raises(ConnectionError):
        await asking.all("x", [call("hangs"), call("fails"), call("waits"), call("waits too")])
    assert begun == ["hangs", "fails"]


async def test_what_does_not_fit_has_no_answer() -> None:
    asking = Asking(ToyModel(words=2), concurrency=1, max_calls=9)
    short, long = await asking.all("x", [call("a b"), call("a b c")])
    assert short is not None and long is None
    assert (asking.bill.calls, asking.bill.too_long) == (2, 1)


async def test_progress_is_told_by_step() -> None:
    told: list[tuple[str, int, int]] = []
    asking = Asking(ToyModel(), concurrency=1, max_calls=9, progress=lambda *step: told.append(step))
    await asking.all("x", [call("a"), call("b")])
    assert told == [("x", 0, 2), ("x", 1, 2), ("x", 2, 2)]


async def test_kept_and_empty_answers_are_counted() -> None:
    async def ask(messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        said = messages[0]["content"]
        return Reply("" if said == "nothing" else said, usage=TokenUsage(2, 1), kept=said == "old")

    asking = Asking(ask, concurrency=1, max_calls=9)
    await asking.all("x", [call("nothing"), call("old"), call("new")])
    bill = asking.bill
    assert (bill.calls, bill.cached, bill.empty) == (2, 1, 1)
    assert (bill.prompt_tokens, bill.completion_tokens) == (6, 3)


def test_hits_are_counted_between_two_readings() -> None:
    counted = PrefixCache(1000, 800).since(PrefixCache(600, 500))
    assert counted == PrefixCache(400, 300)
    assert counted.hit_rate == 0.75
    assert PrefixCache(0, 0).hit_rate == 0.0
    assert PrefixCache(10, 5).since(PrefixCache(600, 500)) is None
