"""A conversation is recognised by what was said in it, and an open tool call by who made it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.serving.conversations import RETENTION, Continuation, Conversations
from app.serving.message_chain import MessageChain, assistant_turn
from app.storage.database import Database
from app.storage.recorder import Recorder
from app.storage.rows import DecisionRow, MarkRow, NewRow
from app.storage.schema import ensure

Message = Mapping[str, Any]

NEW = Continuation()
LONG = "The file has forty lines, and the loop in the middle of it stops one element too early."


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str = "", *calls: str, arguments: str = "{}", **more: Any) -> Message:
    made = [
        {"id": each, "type": "function", "function": {"name": "read", "arguments": arguments}}
        for each in calls
    ]
    return {"role": "assistant", "content": text, **({"tool_calls": made} if made else {}), **more}


def result(call_id: str, text: str = "done") -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


class Talk:
    """Answers and asks in the place of a service."""

    def __init__(self, database: Database, bound: int = 100) -> None:
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.database = database
        self.conversations = Conversations(database, bound, idle_s=3_600, clock=lambda: self.now)
        self.answered = 0

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def answer(
        self,
        expert: str,
        messages: Sequence[Message],
        *answers: Message,
        key: str | None = None,
        category: str | None = "coding",
        name: str | None = None,
        replica: str | None = None,
    ) -> None:
        self.answered += 1
        self.wait(1)
        chain = MessageChain(key, messages)
        decision_id = f"dec_{self.answered}"
        said = [assistant_turn(each) for each in answers]
        marks = self.conversations.remember(chain, key, name, decision_id, (expert, category), said, replica)
        recorder = Recorder(self.database, queue=10, batch=10)
        recorder.start()
        await recorder.submit(row(decision_id, expert, marks))
        await recorder.stop(5)

    async def ask(
        self, messages: Sequence[Message], key: str | None = None, name: str | None = None
    ) -> Continuation:
        self.wait(1)
        return await self.conversations.continuation(MessageChain(key, messages), key, name)

    def elsewhere(self) -> None:
        """Another worker, or the same one after a restart."""
        self.conversations = Conversations(self.database, 100, idle_s=3_600, clock=lambda: self.now)


def row(decision_id: str, expert: str, marks: Any) -> NewRow:
    columns = {
        "id": decision_id,
        "composition": "c",
        "classification": "classified",
        "runners_up": [],
        "ranking": [],
        "expert": expert,
        "strategy": "single",
        "reason": "matched",
        "detail": "",
        "created_at": datetime(2026, 5, 1, tzinfo=UTC),
        "request_id": decision_id,
        "model": "coterie",
        "status": "ok",
        "http_status": 200,
    }
    return NewRow(DecisionRow, columns, marks)


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    database = Database(f"sqlite:///{tmp_path / 'coterie.db'}")
    await ensure(database)
    yield Talk(database)
    await database.close()


FIRST = [user("Why does this loop stop early?")]
SECOND = [*FIRST, assistant(LONG), user("And how is it fixed?")]


async def test_a_conversation_is_known_by_the_messages_before_its_last(talk: Talk) -> None:
    assert await talk.ask(FIRST) == NEW
    await talk.answer("coder", FIRST, assistant(LONG))
    found = await talk.ask(SECOND)
    assert (found.expert, found.category, found.hold) == ("coder", "coding", None)
    assert 0.5 < found.prefix_share < 1


async def test_a_conversation_is_known_after_a_restart_and_at_another_worker(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    talk.elsewhere()
    assert (await talk.ask(SECOND)).expert == "coder"


async def test_two_keys_that_say_the_same_have_two_conversations(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG), key="a")
    await talk.answer("talker", FIRST, assistant(LONG), key="b")
    assert (await talk.ask(SECOND, key="a")).expert == "coder"
    assert (await talk.ask(SECOND, key="b")).expert == "talker"
    assert (await talk.ask(SECOND)).expert is None


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([{"role": "system", "content": "Now: 12:01."}, *SECOND], id="another system message"),
        pytest.param(
            [*FIRST, assistant(f"  {LONG}\n", reasoning_content="hm"), user("Why?")], id="trimmed text"
        ),
        pytest.param(
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": FIRST[0]["content"], "cache_control": {}}],
                },
                assistant(LONG),
                user("Why?"),
            ],
            id="parts with cache marks",
        ),
        pytest.param(
            [
                user(f"<system-reminder>\nToday is Monday.\n</system-reminder>\n{FIRST[0]['content']}"),
                assistant(LONG),
                user("<environment_details>\nx\n</environment_details>"),
                user("Why?"),
            ],
            id="a harness's text",
        ),
        pytest.param([*FIRST, assistant("I changed this."), user("Why?")], id="an edited answer"),
        pytest.param([*SECOND[:2], user("Other"), assistant("Unknown"), user("Why?")], id="a branch"),
    ],
)
async def test_what_clients_change_does_not_hide_a_conversation(talk: Talk, messages: list[Message]) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    assert (await talk.ask(messages)).expert == "coder"


async def test_the_longest_beginning_decides_between_branches(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    await talk.answer("large", SECOND, assistant("Like this."))
    other = [*SECOND[:2], user("Translate it.")]
    await talk.answer("talker", other, assistant("So."))
    assert (await talk.ask([*SECOND, assistant("Like this."), user("Thanks")])).expert == "large"
    assert (await talk.ask([*other, assistant("So."), user("Thanks")])).expert == "talker"


async def test_a_history_whose_beginning_was_cut_off_is_known_by_its_last_exchange(talk: Talk) -> None:
    await talk.answer("coder", SECOND, assistant(f"So: {LONG}"))
    assert (await talk.ask([SECOND[-1], assistant(f"So: {LONG}"), user("Thanks")])).expert == "coder"
    assert (await talk.ask([user("Summary: a loop was fixed."), user("Thanks")])).expert is None


async def test_an_opening_is_no_conversation(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    assert (await talk.ask(FIRST)).expert is None
    assert (await talk.ask([*FIRST, user("Hello?")])).expert is None


async def test_a_name_decides_between_conversations_that_say_the_same(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG), name="one")
    await talk.answer("talker", FIRST, assistant(LONG), name="two")
    assert (await talk.ask(SECOND, name="one")).expert == "coder"
    assert (await talk.ask(SECOND, name="two")).expert == "talker"
    talk.elsewhere()
    assert (await talk.ask([user("Only this")], name="three")).expert is None


async def test_after_idleness_a_conversation_is_nobodys(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    talk.wait(3_601)
    assert await talk.ask(SECOND) == NEW


CALLED = [*FIRST, assistant("", "call_a1", "call_b2")]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(CALLED, id="no result yet"),
        pytest.param([*CALLED, result("call_a1")], id="partly answered"),
        pytest.param([*CALLED, result("call_b2"), result("call_a1")], id="answered"),
        pytest.param(
            [*CALLED, result("call_a1"), user("<system-reminder>x</system-reminder>")], id="reminded"
        ),
        pytest.param([*CALLED, result("call_a1"), user("Stop, do something else.")], id="interrupted"),
        pytest.param([*CALLED, result("call_a1"), assistant("It is")], id="begun by the client"),
        pytest.param([CALLED[-1], result("call_a1")], id="the question cut off"),
        pytest.param([result("call_a1")], id="the call cut off"),
        pytest.param([user("Summary: it reads."), CALLED[-1], result("call_a1")], id="compacted"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_open_tool_call_belongs_to_who_made_it(
    talk: Talk, messages: list[Message], elsewhere: bool
) -> None:
    await talk.answer("coder", FIRST, assistant("", "call_a1", "call_b2"))
    await talk.answer("talker", [user("Hi")], assistant("", "call_x"))
    talk.wait(100_000)
    if elsewhere:
        talk.elsewhere()
    found = await talk.ask(messages)
    assert (found.expert, found.hold) == ("coder", "tool_call")


async def test_an_answer_after_the_result_closes_a_call(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant("", "call_a1"))
    messages = [*FIRST, assistant("", "call_a1"), result("call_a1")]
    await talk.answer("coder", messages, assistant(LONG))
    found = await talk.ask([*messages, assistant(LONG), user("Thanks")])
    assert (found.expert, found.hold) == ("coder", None)


async def test_ids_that_every_answer_counts_from_0_are_told_apart_by_their_place(talk: Talk) -> None:
    other = [user("What is the weather?")]
    for elsewhere in (False, True):
        await talk.answer("coder", FIRST, assistant("", "call_0"))
        await talk.answer("talker", other, assistant("", "call_0"))
        if elsewhere:
            talk.elsewhere()
        for expert, opening in (("coder", FIRST), ("talker", other)):
            found = await talk.ask([*opening, assistant("", "call_0"), result("call_0")])
            assert (found.expert, found.hold) == (expert, "tool_call")
            # The client wrote the arguments anew, so that the answer is not the same.
            edited = assistant("", "call_0", arguments='{"path": "a"}')
            assert (await talk.ask([*opening, edited, result("call_0")])).expert == expert


async def test_a_retried_question_has_two_answers_and_each_call_its_maker(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant("", "call_a1"))
    await talk.answer("talker", FIRST, assistant("", "call_b2"))
    for expert, call in (("coder", "call_a1"), ("talker", "call_b2")):
        assert (await talk.ask([*FIRST, assistant("", call), result(call)])).expert == expert


async def test_a_legacy_function_call_has_no_id_and_yet_its_maker(talk: Talk) -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "read", "arguments": "{}"}}
    await talk.answer("coder", FIRST, called)
    answered = {"role": "function", "name": "read", "content": "done"}
    for messages in ([*FIRST, called], [*FIRST, called, answered], [user("Summary."), called, answered]):
        found = await talk.ask(messages)
        assert (found.expert, found.hold) == ("coder", "tool_call")


async def test_the_call_of_nobody_we_know_leaves_the_router_free(talk: Talk) -> None:
    assert await talk.ask([*FIRST, assistant("", "call_elsewhere"), result("call_elsewhere")]) == NEW


async def test_of_a_choice_of_answers_each_is_known(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant("One."), assistant("", "call_two"))
    assert (await talk.ask([*FIRST, assistant("", "call_two"), result("call_two")])).expert == "coder"
    assert (await talk.ask([*FIRST, assistant("One."), user("Why?")])).expert == "coder"


async def test_provider_state_holds_its_maker_until_idleness(talk: Talk) -> None:
    thinking = assistant(LONG, thinking_blocks=[{"type": "thinking", "thinking": "", "signature": "s1"}])
    await talk.answer("coder", FIRST, thinking)
    messages = [*FIRST, thinking, user("Go on")]
    for _ in range(2):
        found = await talk.ask(messages)
        assert (found.expert, found.hold, dict(found.makers)) == ("coder", "provider_state", {"s1": "coder"})
        talk.elsewhere()
    talk.wait(3_601)
    found = await talk.ask(messages)
    assert (found.expert, found.hold, dict(found.makers)) == (None, None, {"s1": "coder"})


async def test_the_replica_that_has_a_conversation_is_known_after_a_restart(talk: Talk) -> None:
    signed = assistant(LONG, thinking_blocks=[{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}])
    for replica in ("11aa22bb", "33cc44dd"):
        await talk.answer("coder", FIRST, signed, replica=replica)
        for known in (talk, Talk(talk.database)):
            known.now = talk.now
            found = await known.ask([*FIRST, signed, user("And then?")])
            assert (found.expert, found.replica, found.hold) == ("coder", replica, "provider_state")
    assert (await talk.ask([user("Something else")])).replica is None


async def test_a_long_agent_conversation_keeps_the_state_of_every_step(talk: Talk) -> None:
    messages = [*FIRST]
    for step in range(100):
        block = {"type": "thinking", "thinking": "", "signature": f"s{step}"}
        messages.append(assistant("", f"call_{step}", thinking_blocks=[block]))
        chain = MessageChain(None, messages[:-1])
        said = [assistant_turn(messages[-1])]
        talk.conversations.remember(chain, None, None, f"dec_{step}", ("coder", None), said)
        messages.append(result(f"call_{step}"))
    found = await talk.ask(messages)
    assert (found.expert, found.hold, len(found.makers)) == ("coder", "tool_call", 100)


async def test_old_marks_are_deleted_while_the_service_runs(talk: Talk) -> None:
    await talk.answer("coder", FIRST, assistant(LONG))
    conversations = Conversations(talk.database, 100, cleanup_interval_s=0.01, clock=lambda: talk.now)

    async def kept() -> int:
        async with talk.database.session() as session:
            return await session.scalar(select(func.count()).select_from(MarkRow)) or 0

    await conversations.start()
    await asyncio.sleep(0.05)
    assert await kept()
    talk.now += 2 * RETENTION
    async with asyncio.timeout(10):
        while await kept():  # noqa: ASYNC110 - it is asked of the database
            await asyncio.sleep(0.01)
    await conversations.stop()
    await talk.answer("coder", FIRST, assistant(LONG))
    talk.now += 2 * RETENTION
    await asyncio.sleep(0.05)
    assert await kept()


async def test_a_storage_that_fails_leaves_what_is_in_memory(tmp_path: Path) -> None:
    without_tables = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    conversations = Conversations(without_tables, bound=1)
    chain = MessageChain(None, FIRST)
    conversations.remember(chain, "key", "c", "dec_0", ("coder", None), [assistant_turn(assistant(LONG))])
    for number in range(1, 5):
        other = MessageChain(None, [user(f"Question {number}")])
        conversations.remember(other, "key", None, f"dec_{number}", ("talker", None))

    async def expert(key: str, name: str | None, previous: str | None) -> str | None:
        return (await conversations.continuation(MessageChain(key, [user("On")]), key, name, previous)).expert

    assert await expert("key", "c", None) == "coder"
    assert await expert("key", None, "dec_4") == "talker"
    assert await expert("key", None, "dec_0") is None
    assert await expert("other", "c", None) is None
    assert (await conversations.continuation(MessageChain(None, SECOND))).expert == "coder"
    await without_tables.close()


class SilentDatabase(Database):
    """Its server answers nothing; not even a cancelled statement ends before it is `resumed`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked, self.resumed = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        self.asked.set()
        try:
            await self.resumed.wait()
        finally:
            await self.resumed.wait()
        async with super().session() as session:
            yield session


async def test_a_database_that_is_silent_holds_no_request(tmp_path: Path) -> None:
    silent = SilentDatabase(f"sqlite:///{tmp_path / 'silent.db'}")
    asking = asyncio.create_task(Conversations(silent, bound=1).continuation(MessageChain(None, SECOND)))
    await silent.asked.wait()
    done, _ = await asyncio.wait({asking}, timeout=20)
    silent.resumed.set()
    assert done
    assert await asking == NEW
    await silent.close()
