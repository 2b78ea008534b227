"""Asking through the store: once for each question, bounded, retried, and given up where it is hopeless."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from base.reply import AskError, Reply
from base.retries import NO_RETRIES, RetryPolicy
from base.task_groups import together
from experts.answer_store import AnswerStore, StoreError, answer_key
from experts.asker import FEW_ATTEMPTS, GIVE_UP_AFTER, Asker, Messages

QUICK = RetryPolicy(attempts=8, first_wait_s=0.001, longest_wait_s=0.002)
GREEDY = {"temperature": 0.0, "max_tokens": 8}


def said(text: str) -> Messages:
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Someone:
    name: str = "a"
    server: str = "http://here/v1"
    model: str = "small"
    identity: Mapping[str, Any] = field(default_factory=lambda: {"expert": {"name": "small"}})
    extra: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] | None = None


@dataclass
class Script:
    """Answers with what is said, after the failures and texts that are `planned`."""

    planned: deque[AskError | str] = field(default_factory=deque)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    delay_s: float = 0.0
    now: int = 0
    most: int = 0
    closed: int = 0
    first_attempts: int = 5

    async def send(self, source: Someone, messages: Messages, body: Mapping[str, Any]) -> Reply:
        self.bodies.append(body)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.delay_s)
        self.now -= 1
        next_one = self.planned.popleft() if self.planned else str(messages[-1]["content"])
        if isinstance(next_one, AskError):
            raise next_one
        return Reply(next_one)

    async def aclose(self) -> None:
        self.closed += 1


def away(code: str = "expert_unavailable") -> AskError:
    return AskError(code, "away", unavailable=True)


@asynccontextmanager
async def asking(folder: Path, line: Script, **options: Any) -> AsyncIterator[Asker[Someone]]:
    with AnswerStore(folder / "answers.sqlite") as store:
        asker = Asker(store, line, **{"retries": QUICK, **options})
        async with asker.open():
            yield asker


async def test_the_same_question_goes_out_once_whoever_asks_and_when(tmp_path: Path) -> None:
    line = Script(delay_s=0.01)
    async with asking(tmp_path, line) as asker:
        both = await together(asker.ask(Someone(), said("Hi"), GREEDY) for _ in range(2))
        assert asker.asked == {"a": 1}
    async with asking(tmp_path, line) as asker:
        later = await asker.ask(Someone(name="another name"), said("Hi"), GREEDY)
        assert asker.asked == {}
    assert [each.text for each in (*both, later)] == ["Hi"] * 3
    assert sorted(each.kept for each in (*both, later)) == [False, True, True]
    assert (len(line.bodies), line.closed) == (1, 2)


async def test_who_waits_for_a_question_that_another_asks_asks_itself_when_that_is_cancelled(
    tmp_path: Path,
) -> None:
    line = Script(delay_s=0.02)
    async with asking(tmp_path, line) as asker:
        first, second = (asyncio.create_task(asker.ask(Someone(), said("Hi"), GREEDY)) for _ in range(2))
        await asyncio.sleep(0.005)
        first.cancel()
        assert (await second).text == "Hi"
    assert first.cancelled()
    assert len(line.bodies) == 2


async def test_when_all_who_asked_a_question_are_cancelled_nobody_asks_it_again(tmp_path: Path) -> None:
    line = Script(delay_s=0.02)
    async with asking(tmp_path, line) as asker:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await together(asker.ask(Someone(), said("Hi"), GREEDY) for _ in range(3))
    assert len(line.bodies) == 1


async def test_what_another_command_asks_while_a_question_waits_its_turn_is_not_asked(tmp_path: Path) -> None:
    slow, other = Script(delay_s=0.02), Script()
    async with asking(tmp_path, slow, concurrency=1) as asker, asking(tmp_path, other) as another:
        work = asyncio.gather(*(asker.ask(Someone(), said(str(n)), GREEDY) for n in range(5)))
        await asyncio.sleep(0.005)
        for n in range(1, 5):
            await another.ask(Someone(), said(str(n)), GREEDY)
        assert [each.text for each in await work] == ["0", "1", "2", "3", "4"]
        assert asker.asked == {"a": 1}
    assert len(slow.bodies) == 1


async def test_whatever_decides_an_answer_parts_answers(tmp_path: Path) -> None:
    line = Script()
    others: Sequence[tuple[Someone, Messages, Mapping[str, Any]]] = [
        (Someone(), said("Hi"), GREEDY),
        (Someone(), said("Ho"), GREEDY),
        (Someone(), said("Hi"), {**GREEDY, "max_tokens": 9}),
        (Someone(server="http://there/v1"), said("Hi"), GREEDY),
        (Someone(model="large"), said("Hi"), GREEDY),
        (Someone(identity={"composition": "abc"}), said("Hi"), GREEDY),
        (Someone(extra={"top_p": 0.5}), said("Hi"), GREEDY),
        (Someone(), said("Hi"), {"temperature": 0.7, "seed": 1}),
        (Someone(), said("Hi"), {"temperature": 0.7, "seed": 2}),
    ]
    async with asking(tmp_path, line) as asker:
        for _ in range(2):
            for source, messages, sampling in others:
                await asker.ask(source, messages, sampling)
    assert len(line.bodies) == len(others)
    assert [body["seed"] for body in line.bodies if "seed" in body] == [1, 2]
    assert sum("top_p" in body for body in line.bodies) == 1


async def test_a_greedy_request_carries_no_seed_and_finds_what_was_kept_when_it_did(tmp_path: Path) -> None:
    line, someone = Script(), Someone()
    who = {"server": someone.server, "model": someone.model, **someone.identity}
    seeded = {**GREEDY, "seed": 0}
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        store.add(answer_key(who, said("old"), seeded), Reply("kept"), server="", model="")
    async with asking(tmp_path, line) as asker:
        assert (await asker.ask(someone, said("old"), seeded)).text == "kept"
        assert (await asker.ask(someone, said("old"), GREEDY)).text == "kept"
        await asker.ask(someone, said("new"), seeded)
        await asker.ask(someone, said("new"), {**GREEDY, "seed": 5})
        assert [dict(body) for body in line.bodies] == [GREEDY]
        asker.forget(someone, said("old"), seeded)
        assert (await asker.ask(someone, said("old"), seeded)).text == "old"


async def test_answers_of_a_tables_own_file_count_as_kept(tmp_path: Path) -> None:
    someone = Someone()
    exported = {answer_key({"name": "small"}, said("Hi"), GREEDY): Reply("from the table", kept=True)}
    async with asking(tmp_path, Script(), exported=exported) as asker:
        assert (await asker.ask(someone, said("Hi"), GREEDY)).text == "from the table"
    async with asking(tmp_path, Script()) as asker:
        assert (await asker.ask(someone, said("Hi"), GREEDY)).text == "from the table"


async def test_what_was_kept_under_an_earlier_identity_is_found_and_forgotten_with_the_rest(
    tmp_path: Path,
) -> None:
    before = Someone()
    now = Someone(identity={"expert": {"name": "small", "settings": {}}}, earlier=before.identity)
    other = Someone(identity=now.identity)
    exported = {answer_key({"name": "small"}, said("table"), GREEDY): Reply("from the table")}
    line = Script()
    async with asking(tmp_path, line, exported=exported) as asker:
        await asker.ask(before, said("store"), GREEDY)
        assert (await asker.ask(now, said("store"), GREEDY)).kept
        assert (await asker.ask(now, said("table"), GREEDY)).text == "from the table"
        assert (await asker.ask(other, said("store"), GREEDY)).kept
        asker.forget(now, said("store"), GREEDY)
        assert not (await asker.ask(now, said("store"), GREEDY)).kept
    assert len(line.bodies) == 2


async def test_requests_in_flight_are_bounded_for_each_server_or_as_told(tmp_path: Path) -> None:
    line = Script(delay_s=0.005)
    sources = [Someone(name=name) for name in "ab"]
    for options, most in (({}, 3), ({"bounded_by": lambda source: source.name}, 6)):
        async with asking(tmp_path / str(most), line, concurrency=3, **options) as asker:
            await together(
                asker.ask(each, said(f"{each.name} {n}"), GREEDY) for n in range(12) for each in sources
            )
        assert line.most == most


async def test_failures_are_retried_and_told_and_never_kept(tmp_path: Path) -> None:
    told: list[AskError] = []
    line = Script(deque([away(), away("http_429")]))
    async with asking(tmp_path, line, on_retry=told.append) as asker:
        assert (await asker.ask(Someone(), said("Hi"), GREEDY)).text == "Hi"
        assert [each.code for each in told] == ["expert_unavailable", "http_429"]
        line.planned.append(AskError("refused", "no"))
        for text, asked in (("refused", 4), ("refused", 5)):
            if asked == 4:
                with pytest.raises(AskError, match="no"):
                    await asker.ask(Someone(), said(text), GREEDY)
            else:
                await asker.ask(Someone(), said(text), GREEDY)
            assert len(line.bodies) == asked


@pytest.mark.parametrize(
    ("before", "failure", "attempts"),
    [
        (True, away(), QUICK.attempts),
        (False, away(), Script.first_attempts),
        (True, away("timeout"), FEW_ATTEMPTS),
        (True, AskError("expert_bad_reply", "rubbish", transient=True), FEW_ATTEMPTS),
        (True, AskError("refused", "no"), 1),
    ],
)
async def test_a_model_that_has_answered_is_waited_for_longer(
    tmp_path: Path, before: bool, failure: AskError, attempts: int
) -> None:
    line = Script()
    async with asking(tmp_path, line) as asker:
        if before:
            await asker.ask(Someone(), said("Hi"), GREEDY)
        line.planned.extend([failure] * 20)
        with pytest.raises(AskError):
            await asker.ask(Someone(), said("more"), GREEDY)
    assert len(line.bodies) == before + attempts


async def test_another_experts_answer_does_not_cost_the_next_question_its_attempts(tmp_path: Path) -> None:
    fell_back = AskError("other_expert", "b answered in its place", unavailable=True, transient=False)
    line = Script(deque([fell_back, away("expert_busy")]))
    async with asking(tmp_path, line) as asker:
        with pytest.raises(AskError, match="in its place"):
            await asker.ask(Someone(), said("one"), GREEDY)
        assert (await asker.ask(Someone(), said("two"), GREEDY)).text == "two"


class FullDisk(AnswerStore):
    def add(self, key: str, reply: Reply, *, server: str, model: str) -> None:
        raise StoreError("the disk is full")


async def test_nothing_more_is_asked_once_an_answer_cannot_be_kept(tmp_path: Path) -> None:
    line = Script(delay_s=0.001)
    with FullDisk(tmp_path / "answers.sqlite") as store:
        asker = Asker(store, line, concurrency=2)
        async with asker.open():
            asked = (asker.ask(Someone(), said(str(n % 5)), GREEDY) for n in range(10))
            done = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, StoreError) for each in done)
    assert len(line.bodies) <= 2


async def test_a_model_that_keeps_failing_is_asked_nothing_more(tmp_path: Path) -> None:
    line = Script(deque([away()] * 99))
    async with asking(tmp_path, line, concurrency=2) as asker:
        done = await asyncio.gather(
            *(asker.ask(Someone(), said(str(n)), GREEDY) for n in range(20)), return_exceptions=True
        )
    codes = [each.code for each in done if isinstance(each, AskError)]
    assert codes.count("not_asked") >= 20 - GIVE_UP_AFTER - 1
    assert "5 times in a row" in str(done[-1])
    # Only the first two wait for the server; the others are sent once.
    assert len(line.bodies) <= 2 * Script.first_attempts + GIVE_UP_AFTER


def test_one_asker_serves_several_event_loops_one_after_the_other(tmp_path: Path) -> None:
    line = Script(delay_s=0.002)
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        asker = Asker(store, line, concurrency=1, retries=NO_RETRIES)

        async def some(name: str) -> None:
            async with asker.open():
                await together(asker.ask(Someone(), said(f"{name} {n}"), GREEDY) for n in range(3))

        for name in ("one", "two"):
            asyncio.run(some(name))
    assert (len(line.bodies), line.closed) == (6, 2)


async def test_what_a_silent_model_did_not_say_is_asked_again_until_it_speaks(tmp_path: Path) -> None:
    """A server with the wrong chat template answers nothing; mended, it must not be taken for silent."""
    line = Script(deque(["", ""]))
    async with asking(tmp_path, line) as asker:
        for _ in range(2):
            assert not (await asker.ask(Someone(), said("a"), GREEDY)).text
    async with asking(tmp_path, line) as asker:
        assert (await asker.ask(Someone(), said("a"), GREEDY)).text == "a"
        line.planned.append("")
        for _ in range(2):
            assert not (await asker.ask(Someone(), said("nothing"), GREEDY)).text
    assert len(line.bodies) == 4


async def test_the_first_failure_of_work_done_together_is_raised_as_it_is_and_stops_the_rest() -> None:
    ended = []

    async def fails() -> None:
        raise AskError("refused", "no")

    async def lasts() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("stopped")
            raise

    with pytest.raises(AskError, match="no"):
        await together([lasts(), fails()])
    assert ended == ["stopped"]
