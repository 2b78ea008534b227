"""Writing and listing many decisions: `python -m benchmarks.storage_growth --rows 5000000 --database URL`.

The service's own writer writes the first and the last `--written` decisions, which a seed makes; the database
copies the first ones in between. Measured are the rate and CPU time of both writes, what a request looks up,
pages in a row, as `coterie savings` reads them, and the pages of the list: the first, one from the middle,
those of each filter by a common value, by a rare one and by one that nobody has. The database is a new SQLite
file, or the empty one of `--database`. Prints a table; `--json FILE` writes the numbers, `--plans` prints how
the database finds each page. On a busy machine prefer CPU time: that of both sides, when PostgreSQL is on
this machine.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Measure, conclude

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from app.storage.database import Database
    from app.storage.queries import Cursor, Filters
    from app.storage.rows import NewRow

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=700)
"""Between two decisions."""
EXPERTS = tuple(f"expert-{number}" for number in range(14))
CATEGORIES = ("coding", "math", "writing", "law", "health", "roleplay", "stem", "extraction")
RARE = "rare"
EACH = 10_000
"""One row of so many has rare values."""
PAGE, MOST = 50, 200
"""Decisions of a page by default, and at most."""
BOUND_MS = 50
IN_A_ROW = 20
"""Pages that are read one after the other."""
EVENLY, SECONDS = 500, 5
"""Rows that come in a second, and for how long, where the wait for their writing is measured."""
QUEUE = 5_000
BATCH = 1_000
"""Queue and batch of the service's settings."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page to ask for."""

    name: str
    filters: "Filters"
    after: "Cursor | None" = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage_growth", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--written", type=int, default=100_000, help="rows at the start, and at the end")
    parser.add_argument("--database", metavar="URL", help="an empty one; by default a new SQLite file")
    parser.add_argument("--rounds", type=int, default=20, help="of each page")
    parser.add_argument("--batch", type=int, default=BATCH, help="rows in one transaction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plans", action="store_true", help="print how the database finds each page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch:
        url = given.database or f"sqlite:///{scratch}/coterie.db"
        measures = asyncio.run(_measure(url, given))
    return conclude(measures, given.json)


async def _measure(url: str, given: argparse.Namespace) -> list[Measure]:
    from app.storage.database import Database
    from app.storage.schema import upgrade

    database = Database(url)
    try:
        await upgrade(database)
        measures = await _fill(database, given)
        measures += await _waiting(database, given.rows, given.seed)
        measures += await _lookups(database, given.rounds)
        for page in pages(given.rows):
            measures += await _page(database, page, given.rounds)
            if given.plans:
                print(await plan(database, page), file=sys.stderr)  # noqa: T201
    finally:
        await database.close()
    return measures


def decisions(count: int, seed: int, first: int = 0) -> "Iterator[NewRow]":
    """Decisions from the `first` on, like those of a service with 14 experts, the oldest first; every EACH-th
    is rare in all that the list can be filtered by."""
    from app.storage.rows import DecisionRow, Mark, NewRow

    drawn = random.Random(seed)
    for number in range(first, first + count):
        rare = number % EACH == EACH // 2
        expert, category = drawn.choice(EXPERTS), drawn.choice(CATEGORIES)
        score = drawn.random()
        when = START + number * STEP
        marks = [f"{drawn.getrandbits(256):064x}" for _ in range(2)]
        columns = {
            "id": f"dec_{number:012x}{drawn.getrandbits(80):020x}",
            "composition": "55cc3cc50a0f42bf",
            "classification": "classified",
            "category": RARE if rare else category,
            "probability": score,
            "runners_up": [{"category": each, "probability": score / 4} for each in CATEGORIES[:3]],
            "ood_score": score,
            "ranking": [{"expert": each, "utility": score, "excluded": None} for each in EXPERTS],
            "expert": RARE if rare else expert,
            "strategy": "single",
            "reason": RARE if rare else "matched",
            "detail": f"{category} goes to {expert}",
            "created_at": when,
            "request_id": f"req_{number:032x}",
            "api_key": RARE if rare else f"key-{number % 7}",
            "conversation": f"conversation-{number // 4}",
            "model": RARE if rare else "coterie",
            "status": "error" if rare else "ok",
            "http_status": 200,
            "latency_ms": 1000 * score,
            "first_byte_ms": 100 * score,
            "usage": {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300},
        }
        yield NewRow(DecisionRow, columns, [Mark(mark, expert, category, when) for mark in marks])


async def _fill(database: "Database", given: argparse.Namespace) -> list[Measure]:
    """Write the first rows, have them copied, and write the last."""
    first = min(given.written, given.rows)
    measures = await _write(database, decisions(first, given.seed), given.batch, "the first", first)
    copies = given.rows // first - 2
    if copies >= 0:
        await _copy_first(database, first, copies)
        last = decisions(first, given.seed + 1, first * (copies + 1))
        measures += await _write(database, last, given.batch, "the last", first)
    return measures


async def _write(
    database: "Database", rows: "Iterator[NewRow]", batch: int, which: str, count: int
) -> list[Measure]:
    """Have the service's writer write rows. Making them is not counted."""
    from app.storage.recorder import Recorder

    recorder = Recorder(database, queue=QUEUE, batch=batch)
    recorder.start()
    took = used = 0.0
    served_before = await _server_cpu_s(database)
    while made := list(islice(rows, QUEUE)):
        started, used_before = time.perf_counter(), time.process_time()
        for row in made:
            await recorder.submit(row)
        await recorder.written(600)
        took += time.perf_counter() - started
        used += time.process_time() - used_before
    if await recorder.stop(600):
        raise SystemExit("the database did not take all rows")
    served = await _server_cpu_s(database)
    named = f"{which} {count:,} decisions with 2 marks each"
    measures = [
        Measure(f"writing {named}", count / took, "rows/s"),
        Measure("CPU time of the service for one", 1e6 * used / count, "µs"),
    ]
    if served is not None and served_before is not None:
        measures.append(
            Measure("CPU time of PostgreSQL for one", 1e6 * (served - served_before) / count, "µs")
        )
    return measures


async def _waiting(database: "Database", first: int, seed: int) -> list[Measure]:
    """How long rows that come evenly wait until they are in the database: those that wait are lost when the
    service is killed."""
    from app.storage.recorder import Recorder

    submitted: deque[float] = deque()
    waits: list[float] = []

    def written(count: int) -> None:
        now = time.perf_counter()
        waits.extend(1000 * (now - submitted.popleft()) for _ in range(count))

    recorder = Recorder(database, queue=QUEUE, batch=BATCH, on_written=written)
    recorder.start()
    most = 0
    for row in decisions(EVENLY * SECONDS, seed + 2, first):
        submitted.append(time.perf_counter())
        await recorder.submit(row)
        most = max(most, recorder.waiting)
        await asyncio.sleep(1 / EVENLY)
    await recorder.stop(60)
    return [
        Measure(f"longest wait of a row at up to {EVENLY} a second", max(waits), "ms"),
        Measure("· rows that waited at most", most, "rows"),
    ]


async def _server_cpu_s(database: "Database") -> float | None:
    """Seconds of CPU time that PostgreSQL has used for its connections to `database`; None when it runs on
    another machine, and for SQLite, which runs in the service."""
    from sqlalchemy import text

    from base.databases import is_sqlite

    if is_sqlite(database.url):
        return None
    own = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    async with database.engine.connect() as connection:
        times = [_cpu_s(pid) for pid in (await connection.scalars(own)).all()]
    known = [each for each in times if each is not None]
    return sum(known) if len(known) == len(times) else None


def _cpu_s(pid: int) -> float | None:
    """None when no process of PostgreSQL has this number here."""
    try:
        name, _, numbers = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")
    except OSError:
        return None
    ticks = sum(int(number) for number in numbers.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK") if name.endswith("(postgres") else None


async def _copy_first(database: "Database", first: int, copies: int) -> None:
    """Have the database copy the `first` rows so often, each time later, with other ids and marks."""
    from app.storage.rows import DecisionRow, MarkRow, column_names
    from base.databases import is_sqlite

    if is_sqlite(database.url):
        later = "strftime('%Y-%m-%d %H:%M:%f', {}, '+{} seconds') || '000'"
        digest = "lower(hex(randomblob(32)))"
    else:
        later, digest = "{} + interval '{} seconds'", "md5(mark || '{0}') || md5('{0}' || mark)"
    tables = DecisionRow, MarkRow
    async with database.engine.connect() as connection:
        for name in (table.__tablename__ for table in tables):
            await connection.exec_driver_sql(f"CREATE TEMP TABLE first_{name} AS SELECT * FROM {name}")
        for number in range(1, copies + 1):
            seconds = number * first * STEP.total_seconds()
            changed = {
                "id": f"'dec_{number:04x}' || substr(id, 9)",
                "request_id": f"'req_{number:04x}' || substr(request_id, 9)",
                "conversation": f"conversation || '.{number}'",
                "created_at": later.format("created_at", seconds),
                "mark": digest.format(number),
                "seen_at": later.format("seen_at", seconds),
            }
            for table in tables:
                name, names = table.__tablename__, column_names(table)
                values = ", ".join(changed.get(each, each) for each in names)
                await connection.exec_driver_sql(
                    f"INSERT INTO {name} ({', '.join(names)}) SELECT {values} FROM first_{name}"
                )
            await connection.commit()
        if not is_sqlite(database.url):
            # What its own housekeeping does within a minute.
            await connection.exec_driver_sql("ANALYZE")
            await connection.commit()


async def _lookups(database: "Database", rounds: int) -> list[Measure]:
    """What requests ask storage for, and pages in a row."""
    from app.storage import queries

    async def conversation(session: "AsyncSession") -> None:
        await queries.last_of_conversation(session, "conversation-0", "key-0")

    async def marks(session: "AsyncSession") -> None:
        await queries.marks_of(session, [f"{number:064x}" for number in range(64)])

    async def old_marks(session: "AsyncSession") -> None:
        await queries.delete_old_marks(session, START + 1_000 * STEP, bound=100)

    async def all_pages(session: "AsyncSession") -> None:
        after = None
        for _ in range(IN_A_ROW):
            _, after = await queries.decisions_page(session, queries.Filters(), limit=MOST, after=after)
            session.expunge_all()
            if after is None:
                break

    return [
        *await _timed(database, "a conversation's last expert", conversation, rounds),
        *await _timed(database, "who answered where 64 marks stand for", marks, rounds),
        *await _timed(database, "deleting 100 old marks", old_marks, rounds),
        *await _timed(database, f"{IN_A_ROW} pages of {MOST} in a row, each", all_pages, rounds, IN_A_ROW),
    ]


async def _timed(
    database: "Database",
    name: str,
    read: "Callable[[AsyncSession], Awaitable[None]]",
    rounds: int,
    parts: int = 1,
) -> list[Measure]:
    """Median of the time of one of `parts`, and mean of the CPU time that both sides take for it; the first
    round warms up."""
    times: list[float] = []
    for number in range(rounds + 1):
        if number == 1:
            used_before, served_before = time.process_time(), await _server_cpu_s(database) or 0.0
        started = time.perf_counter()
        async with database.session() as session:
            await read(session)
        times.append(1000 * (time.perf_counter() - started) / parts)
    used = time.process_time() - used_before + (await _server_cpu_s(database) or 0.0) - served_before
    return [
        Measure(name, statistics.median(times[1:]), "ms", BOUND_MS),
        Measure("· CPU time", 1000 * used / rounds / parts, "ms"),
    ]


def pages(rows: int) -> "Iterator[Page]":
    """The pages to ask for, of a table with so many rows."""
    from app.storage.queries import Cursor, Filters

    middle = START + rows // 2 * STEP
    yield Page("first page", Filters())
    yield Page("page from the middle", Filters(), Cursor(middle, "dec_"))
    yield Page("page until a time", Filters(until=middle))
    filters: Mapping[str, Sequence[str]] = {
        "expert": (EXPERTS[0], RARE, "nobody's"),
        "category": (CATEGORIES[0], RARE, "nobody's"),
        "reason": ("matched", RARE, "nobody's"),
        "status": ("ok", "error", "nobody's"),
        "model": ("coterie", RARE, "nobody's"),
        "api_key": ("key-0", RARE, "nobody's"),
        "conversation": ("conversation-0", "nobody's"),
        "request_id": (f"req_{0:032x}", "nobody's"),
    }
    for name, values in filters.items():
        for value in values:
            wanted: dict[str, Any] = {name: value}
            yield Page(f"page of {name} {value}", Filters(**wanted))
    yield Page("page of an expert, from the middle", Filters(expert=EXPERTS[0]), Cursor(middle, "dec_"))
    yield Page("page of an expert's errors", Filters(expert=EXPERTS[0], status="error"))
    yield Page("page of a rare expert's key", Filters(expert=RARE, api_key=RARE))


async def _page(database: "Database", page: Page, rounds: int) -> list[Measure]:
    """Reading a page as the API does."""
    from app.storage.queries import decisions_page, feedback_of, shadows_of

    async def read(session: "AsyncSession") -> None:
        rows, _ = await decisions_page(session, page.filters, limit=PAGE, after=page.after)
        ids = [row.id for row in rows]
        await shadows_of(session, ids)
        await feedback_of(session, ids)

    return await _timed(database, page.name, read, rounds)


async def plan(database: "Database", page: Page) -> str:
    """How the database finds the rows of a page."""
    from sqlalchemy import text

    from app.storage.queries import page_query
    from base.databases import is_sqlite

    query = page_query(page.filters, limit=PAGE, after=page.after)
    compiled = query.compile(database.engine.sync_engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if is_sqlite(database.url) else "EXPLAIN"
    async with database.engine.connect() as connection:
        rows = (await connection.execute(text(f"{explain} {compiled}".replace(":", r"\:")))).all()
    return "\n".join([f"{page.name}:", *(f"  {row[-1]}" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
