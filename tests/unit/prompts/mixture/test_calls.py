"""Calls: bounded, none twice, kept on disk, and billed."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from prompts.mixture.call_budget import Asking, Call, Completion, Messages, PrefixCache
from prompts.mixture.calls import AnswerCache, CachedAsk, call_key
from prompts.mixture.mixture import MixtureError
from tests.unit.prompts.mixture.world import ToyModel


def call(text: str, seed: int = 0) -> Call:
    return Call(({"role": "user", "content": text},), 8, 0.0, seed)


class Slow:
    """Answers after a moment, and knows how many it answered at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(
        self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
    ) -> Completion:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002 if messages[0]["content"] == "first" else 0)
        self.now -= 1
        return Completion(messages[0]["content"], 1, 1)


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

    async def ask(messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Completion:
        begun.append(messages[0]["content"])
        if messages[0]["content"] == "fails":
            raise ConnectionError("the model is gone")
        await asyncio.sleep(60)
        return Completion("", 1, 1)

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


async def test_a_kept_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    model = ToyModel()
    for _ in range(2):
        with AnswerCache(tmp_path / "deep" / "answers.sqlite") as cache:
            asking = Asking(CachedAsk(model, cache, "toy"), concurrency=2, max_calls=9)
            (answer,) = await asking.all("x", [call("mirror x")])
            assert answer is not None and answer.text == "x"
            assert len(cache) == 1
    assert len(model.seen) == 1
    assert (asking.bill.calls, asking.bill.cached, asking.bill.prompt_tokens) == (0, 1, 2)


async def test_half_a_character_in_an_answer_reads_the_same_when_asked_and_when_kept(tmp_path: Path) -> None:
    async def ask(messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Completion:
        return Completion("a whole \U0001f600 and half a one: \ud83d, then on", 1, 1)

    heard = []
    for _ in range(2):
        with AnswerCache(tmp_path / "answers.sqlite") as cache:
            asking = Asking(CachedAsk(ask, cache, "toy"), concurrency=1, max_calls=9)
            heard += await asking.all("x", [call("a")])
            assert len(cache) == 1
    heard += await Asking(ask, concurrency=1, max_calls=9).all("x", [call("a")])

    assert [answer.cached for answer in heard if answer] == [False, True, False]
    assert {answer.text for answer in heard if answer} == {
        "a whole \U0001f600 and half a one: \ufffd, then on"
    }


async def test_another_model_or_sampling_is_another_question(tmp_path: Path) -> None:
    said = ({"role": "user", "content": "a"},)
    key = call_key("toy", said, max_tokens=1, temperature=0.0, seed=0)
    assert key == call_key("toy", said, max_tokens=1, temperature=0.0, seed=0)
    others = [
        call_key("other", said, max_tokens=1, temperature=0.0, seed=0),
        call_key("toy", (), max_tokens=1, temperature=0.0, seed=0),
        call_key("toy", said, max_tokens=2, temperature=0.0, seed=0),
        call_key("toy", said, max_tokens=1, temperature=0.5, seed=0),
        call_key("toy", said, max_tokens=1, temperature=0.0, seed=1),
    ]
    assert len({key, *others}) == 6


def test_an_answer_of_any_text_can_be_kept(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        cache.put("k", Completion("half \ud83d of it", 1, 2))
        assert cache.get("k") == Completion("half \ufffd of it", 1, 2, cached=True)
        assert cache.get("other") is None


def test_questions_are_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    key = call_key("toy", ({"role": "user", "content": "secret"},), max_tokens=1, temperature=0, seed=0)
    with AnswerCache(file) as cache:
        cache.put(key, Completion("fine", 1, 1))
    assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to look", None])
def test_a_file_that_is_no_cache_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.sqlite"
    if content is not None:
        file.write_bytes(content)
    else:
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE answers (something INTEGER)")
        other.close()
    with pytest.raises(MixtureError, match="no cache of answers"):
        AnswerCache(file)


def test_a_folder_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="cannot be opened"):
        AnswerCache(tmp_path)


def test_a_cache_that_cannot_be_used_just_now_is_not_called_a_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite-wal").mkdir()
    with pytest.raises(MixtureError, match=r"a\.sqlite: the cache of answers cannot be used: .*mend that"):
        AnswerCache(tmp_path / "a.sqlite")


def test_caches_that_are_opened_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    """Switching a new file to a write-ahead log does not wait by itself."""
    file = tmp_path / "a.sqlite"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE other (something INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    later.start()
    try:
        with AnswerCache(file) as cache:
            cache.put("k", Completion("fine", 1, 1))
            assert len(cache) == 1
    finally:
        later.join()
        other.close()


async def test_what_a_silent_model_did_not_say_is_asked_again(tmp_path: Path) -> None:
    """A server with the wrong chat template answers nothing; mended, it must not be taken for silent."""
    model = ToyModel(answer=lambda messages: "")
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        asking = Asking(CachedAsk(model, cache, "toy"), concurrency=1, max_calls=9)
        await asking.all("x", [call("mirror a"), call("mirror b")])
        assert len(cache) == 0
        mended = Asking(CachedAsk(ToyModel(), cache, "toy"), concurrency=1, max_calls=9)
        answers = await mended.all("x", [call("mirror a"), call("mirror b")])
    assert [answer.text for answer in answers if answer] == ["a", "b"]


async def test_empty_answers_of_a_model_that_speaks_are_kept(tmp_path: Path) -> None:
    model = ToyModel(answer=lambda messages: "" if "nothing" in messages[-1]["content"] else "well")
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        asking = Asking(CachedAsk(model, cache, "toy"), concurrency=1, max_calls=9)
        await asking.all("x", [call("nothing"), call("something"), call("nothing more")])
        assert len(cache) == 3
        assert asking.bill.empty == 2


def test_hits_are_counted_between_two_readings() -> None:
    counted = PrefixCache(1000, 800).since(PrefixCache(600, 500))
    assert counted == PrefixCache(400, 300)
    assert counted.hit_rate == 0.75
    assert PrefixCache(0, 0).hit_rate == 0.0
    assert PrefixCache(10, 5).since(PrefixCache(600, 500)) is None
