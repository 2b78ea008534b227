"""Storage on SQLite and PostgreSQL: the same tests on both."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text

from app.settings import PROJECT
from app.storage.database import Database
from app.storage.queries import (
    Cursor,
    Filters,
    decision_by_id,
    decisions_page,
    delete_old_marks,
    delete_response,
    feedback_of,
    last_of_conversation,
    marks_of,
    response_chain,
)
from app.storage.recorder import Recorder
from app.storage.rows import DecisionRow, FeedbackRow, Mark, NewRow, ResponseRow, TableBase
from app.storage.schema import OutdatedSchema, ensure, upgrade
from base.databases import DatabaseError, is_sqlite
from benchmarks.postgres_server import Postgres
from benchmarks.storage_growth import Page, plan

HEAD = "0013"
"""The newest migration."""
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_decision(number: int = 0, marks: Sequence[Mark] = (), **changes: Any) -> NewRow:
    values: dict[str, Any] = {
        "id": f"dec_{number:05d}",
        "created_at": START + timedelta(seconds=number),
        "request_id": f"req_{number}",
        "model": "coterie",
        "composition": "c1",
        "classification": "classified",
        "category": "coding",
        "probability": 0.875,
        "runners_up": [{"category": "math", "probability": 0.125}],
        "ood_score": 0.25,
        "ranking": [{"expert": "coder", "utility": 0.5}],
        "expert": "coder",
        "strategy": "single",
        "reason": "matched",
        "detail": "Größe ≥ 3 — fine.",
        "status": "ok",
        "http_status": 200,
        "first_byte_ms": 1.5,
        "latency_ms": 2.5,
    }
    return NewRow(DecisionRow, {**values, **changes}, marks)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await upgrade(opened)
    yield opened
    await opened.close()


async def write(database: Database, *rows: NewRow) -> None:
    recorder = Recorder(database, queue=100, batch=7)
    recorder.start()
    for row in rows:
        await recorder.submit(row)
    assert await recorder.stop(10) == 0


async def test_a_decision_is_read_back_as_it_was_written(database: Database) -> None:
    kept = a_decision(usage={"prompt_tokens": 3}, messages=[{"role": "user", "content": "a\0b"}])
    await write(database, kept)
    async with database.session() as session:
        found = await decision_by_id(session, kept.values["id"])
    assert found is not None
    assert found.created_at == START
    assert found.created_at.tzinfo is not None
    assert found.ranking == kept.values["ranking"]
    assert found.detail == kept.values["detail"]
    assert found.usage == {"prompt_tokens": 3}
    assert found.messages == [{"role": "user", "content": "a\0b"}]


async def test_a_chain_of_responses_is_its_callers_oldest_first_and_bounded(database: Database) -> None:
    def a_response(name: str, previous: str | None, **changes: Any) -> NewRow:
        said = [{"role": "user", "content": f"{name}\0"}]
        columns = {"id": name, "previous": previous, "created_at": START, "input": said}
        return NewRow(ResponseRow, columns | {"response": {"output": []}} | changes)

    rows = [a_response(f"r{n}", f"r{n - 1}" if n else None, api_key="one") for n in range(5)]
    await write(database, *rows, a_response("other", "r2", api_key="two"), a_response("open", None))

    async def chain(last: str, api_key: str | None, bound: int = 10) -> list[str]:
        async with database.session() as session:
            return [row.id for row in await response_chain(session, last, api_key, bound=bound)]

    assert await chain("r3", "one") == ["r0", "r1", "r2", "r3"]
    assert await chain("r3", "one", bound=2) == ["r2", "r3"]
    assert await chain("r3", "two") == await chain("r3", None) == await chain("none", "one") == []
    assert await chain("other", "two") == ["other"]
    assert await chain("open", None) == ["open"]
    async with database.session() as session:
        assert not await delete_response(session, "r1", "two")
        assert await delete_response(session, "r1", "one")
    assert await chain("r3", "one") == ["r2", "r3"]


async def test_pages_follow_each_other_newest_first_without_gap_or_repeat(database: Database) -> None:
    rows = [a_decision(n) for n in range(23)]
    same_moment = [a_decision(n, created_at=START) for n in range(100, 105)]
    await write(database, *rows, *same_moment)
    seen: list[str] = []
    cursor: Cursor | None = None
    async with database.session() as session:
        while True:
            page, cursor = await decisions_page(session, Filters(), limit=4, after=cursor)
            seen += [row.id for row in page]
            if cursor is None:
                break
            cursor = Cursor.decode(cursor.encode())
    written = [(row.values["created_at"], row.values["id"]) for row in (*rows, *same_moment)]
    assert seen == [row_id for _, row_id in sorted(written, reverse=True)]


@pytest.mark.parametrize("name", ["category", "expert", "reason", "status", "model", "api_key"])
async def test_a_filtered_page_begins_at_its_cursor_in_an_index(tmp_path: Path, name: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'coterie.db'}")
    await ensure(database)
    wanted: dict[str, Any] = {name: "any"}
    page = Page(name, Filters(**wanted), Cursor(START, "dec_1"))
    found = await plan(database, page)
    assert f"ix_decisions_{name}_created_at_id ({name}=? AND (created_at,id)<(?,?))" in found
    assert "TEMP B-TREE" not in found and "SCAN" not in found
    await database.close()


@pytest.mark.parametrize("name", ["conversation", "request_id"])
async def test_a_page_of_a_conversation_is_not_sought_among_all_rows_of_a_key(
    tmp_path: Path, name: str
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'coterie.db'}")
    await ensure(database)
    wanted: dict[str, Any] = {name: "any", "api_key": "team"}
    assert f"({name}=?)" in await plan(database, Page(name, Filters(**wanted)))
    await database.close()


async def test_a_row_with_a_character_that_json_documents_cannot_hold_is_written(database: Database) -> None:
    dropped: list[int] = []
    recorder = Recorder(database, queue=100, batch=10, on_dropped=dropped.append)
    told = [{"role": "user", "content": "a\0b"}]
    rows = [a_decision(1), a_decision(2, messages=told), a_decision(3, ood_score=None)]
    for row in rows:
        await recorder.submit(row)
    recorder.start()
    assert await recorder.stop(10) == 0 and not dropped
    async with database.session() as session:
        found = await decision_by_id(session, "dec_00002")
        assert found is not None and found.messages == told
        assert (await session.scalar(select(func.count()).select_from(DecisionRow))) == 3


async def test_filters_narrow_the_list(database: Database) -> None:
    await write(
        database,
        a_decision(1, expert="talker", reason="pinned"),
        a_decision(2, status="error", error_code="expert_timeout"),
        a_decision(3, conversation="c1", api_key="team"),
    )
    wanted = {
        "dec_00001": Filters(expert="talker", reason="pinned"),
        "dec_00002": Filters(status="error"),
        "dec_00003": Filters(conversation="c1", api_key="team"),
    }
    async with database.session() as session:
        for row_id, filters in wanted.items():
            page, _ = await decisions_page(session, filters, limit=10)
            assert [row.id for row in page] == [row_id]
        since = Filters(since=START + timedelta(seconds=2), until=START + timedelta(seconds=3))
        page, _ = await decisions_page(session, since, limit=10)
        assert [row.id for row in page] == ["dec_00002"]


async def test_feedback_comes_with_its_decision_oldest_first(database: Database) -> None:
    first = {"id": "fb_b", "decision_id": "dec_00001", "created_at": START, "rating": 1}
    later = START + timedelta(seconds=1)
    second = {"id": "fb_a", "decision_id": "dec_00001", "created_at": later, "score": 0.5, "comment": "ok"}
    await write(database, NewRow(FeedbackRow, second), a_decision(1), NewRow(FeedbackRow, first))
    async with database.session() as session:
        found = await feedback_of(session, ["dec_00001", "dec_00002"])
    assert [row.id for row in found["dec_00001"]] == ["fb_b", "fb_a"]
    assert found["dec_00002"] == []


async def test_a_conversation_is_with_the_expert_that_last_answered_its_caller(database: Database) -> None:
    await write(
        database,
        a_decision(1, conversation="c", api_key="a", expert="coder"),
        a_decision(2, conversation="c", api_key="a", expert="talker"),
        a_decision(3, conversation="c", api_key="a", expert="backup", first_byte_ms=None, status="error"),
        a_decision(4, conversation="c", api_key="b", expert="coder"),
        a_decision(5, conversation="c", expert="backup"),
    )
    async with database.session() as session:
        for key, expert in (("a", "talker"), ("b", "coder"), (None, "backup")):
            last = await last_of_conversation(session, "c", key)
            assert last is not None and last.expert == expert
        assert await last_of_conversation(session, "other", None) is None


async def test_marks_are_kept_once_for_each_expert_and_forgotten_when_unused(database: Database) -> None:
    def seen(expert: str, minutes: int, mark: str = "m1") -> Mark:
        return Mark(mark, expert, None, START + timedelta(minutes=minutes))

    await write(
        database,
        a_decision(1, marks=(seen("coder", 1), seen("coder", 2), seen("talker", 3, "m2"))),
        a_decision(2, marks=(seen("coder", 4), seen("talker", 0))),
    )
    async with database.session() as session:
        found = await marks_of(session, ["m1", "m3"])
        assert [(row.expert, row.seen_at) for row in found] == [
            ("coder", START + timedelta(minutes=4)),
            ("talker", START),
        ]
        assert await delete_old_marks(session, START + timedelta(minutes=3), bound=10) == 1
        assert [row.expert for row in await marks_of(session, ["m1", "m2"])] == ["coder", "talker"]


async def test_old_marks_are_forgotten_in_pieces(database: Database) -> None:
    old = tuple(Mark(f"m{each}", "coder", None, START) for each in range(5))
    await write(database, a_decision(1, marks=old))
    async with database.session() as session:
        later = START + timedelta(minutes=1)
        assert [await delete_old_marks(session, later, bound=2) for _ in range(4)] == [2, 2, 1, 0]
        assert list(await marks_of(session, [each.mark for each in old])) == []


async def test_marks_are_written_in_one_order(database: Database) -> None:
    """Two workers that write the same ones in two orders would wait for each other for ever."""
    marks = tuple(Mark(each, "coder", None, START) for each in ("m2", "m3", "m1"))
    await write(database, a_decision(1, marks=marks))
    place = "rowid" if is_sqlite(database.url) else "ctid"
    async with database.session() as session:
        written = await session.scalars(text(f"SELECT mark FROM conversation_marks ORDER BY {place}"))
        assert written.all() == ["m1", "m2", "m3"]


async def test_the_migrations_make_the_tables_of_the_models(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), TableBase.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_the_alembic_command_finds_the_migrations() -> None:
    config = Config(toml_file=PROJECT / "pyproject.toml")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    assert await upgrade(database) == (None, HEAD)
    assert await upgrade(database) == (HEAD, HEAD)
    assert await ensure(database) == (HEAD, HEAD)
    await database.close()


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(OutdatedSchema, match="newer Coterie"):
        await ensure(database)
    with pytest.raises(OutdatedSchema, match="nothing was changed"):
        await upgrade(database)


async def test_sqlite_is_upgraded_at_start(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'coterie.db'}")
    assert await ensure(database) == (None, HEAD)
    await database.close()


@pytest.mark.postgres
async def test_postgresql_has_to_be_upgraded_by_command(postgres: Postgres) -> None:
    database = Database(postgres.new_database())
    with pytest.raises(OutdatedSchema, match="coterie db upgrade"):
        await ensure(database)
    await upgrade(database)
    assert await ensure(database) == (HEAD, HEAD)
    await database.close()


async def test_rows_submitted_twice_are_written_once(database: Database) -> None:
    await write(database, a_decision(1), a_decision(1), a_decision(2))
    assert await count(database) == 2


async def test_one_refused_row_does_not_take_its_batch_along(database: Database) -> None:
    dropped: list[int] = []
    recorder = Recorder(database, queue=100, batch=10, on_dropped=dropped.append)
    recorder.start()
    # Neither database takes an expert of NULL.
    for row in (a_decision(1), a_decision(2, expert=None), a_decision(3)):
        await recorder.submit(row)
    assert await recorder.stop(10) == 0
    assert dropped == [1]
    assert await count(database) == 2


async def test_a_batch_of_which_some_rows_are_there_already_adds_the_others(database: Database) -> None:
    """As when the answer to a commit was lost."""
    mark = Mark("m1", "coder", None, START)
    await write(database, a_decision(1), a_decision(2, marks=[mark]))
    later = mark._replace(seen_at=START + timedelta(minutes=1))
    await write(database, a_decision(2, marks=[later]), a_decision(3), a_decision(1, detail="another"))
    assert await count(database) == 3
    async with database.session() as session:
        found = await decision_by_id(session, "dec_00001")
        assert found is not None and found.detail == a_decision().values["detail"]
        assert [row.seen_at for row in await marks_of(session, ["m1"])] == [later.seen_at]


async def test_a_value_without_a_column_is_refused_and_not_left_out(database: Database) -> None:
    dropped: list[int] = []
    recorder = Recorder(database, queue=100, batch=10, on_dropped=dropped.append)
    recorder.start()
    for row in (a_decision(1), a_decision(2, colour="blue")):
        await recorder.submit(row)
    assert await recorder.stop(10) == 0
    assert dropped == [1]
    assert await count(database) == 1


@pytest.mark.postgres
async def test_a_lost_connection_neither_loses_nor_repeats_rows(postgres: Postgres) -> None:
    database = Database(postgres.new_database())
    await upgrade(database)
    recorder = Recorder(database, queue=1_000, batch=50)
    recorder.start()
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()"
    )
    for number in range(1_000):
        await recorder.submit(a_decision(number))
        if number % 200 == 0:
            await asyncio.sleep(0.05)
            async with database.engine.connect() as connection:
                await connection.execute(others)
    assert await recorder.stop(30) == 0
    assert await count(database) == 1_000
    await database.close()


async def test_a_full_queue_makes_the_submitter_wait(database: Database) -> None:
    recorder = Recorder(database, queue=2, batch=2)
    await recorder.submit(a_decision(1))
    await recorder.submit(a_decision(2))
    third = asyncio.create_task(recorder.submit(a_decision(3)))
    done, _ = await asyncio.wait({third}, timeout=0.1)
    assert not done
    recorder.start()
    await asyncio.wait_for(third, 5)
    assert await recorder.stop(10) == 0
    assert await count(database) == 3


async def test_a_row_whose_submitter_is_cancelled_while_it_waits_is_written(database: Database) -> None:
    recorder = Recorder(database, queue=1, batch=1)
    await recorder.submit(a_decision(1))
    second = asyncio.create_task(recorder.submit(a_decision(2)))
    await asyncio.wait({second}, timeout=0.1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    recorder.start()
    assert await recorder.stop(10) == 0
    assert await count(database) == 2


async def test_a_locked_database_is_tried_again_until_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "coterie.db"
    database = Database(f"sqlite:///{path}?timeout=0.01")
    await upgrade(database)
    async with database.engine.connect() as connection:
        await connection.execute(text("PRAGMA busy_timeout = 10"))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    recorder = Recorder(database, queue=10, batch=10)
    recorder.start()
    await recorder.submit(a_decision(1))
    assert not await recorder.written(0.3)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await recorder.written(15)
    assert await recorder.stop(10) == 0
    assert await count(database) == 1
    await database.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:secret@h/d", "use sqlite or postgresql"),
        ("sqlite://", "needs a file"),
        ("not a url secret", "not a database URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as raised:
        Database(url)
    assert "secret" not in str(raised.value)


async def count(database: Database) -> int:
    async with database.session() as session:
        found = await session.scalar(select(func.count()).select_from(DecisionRow))
    return found or 0
