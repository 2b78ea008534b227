"""Writing and listing many decisions: `python -m benchmarks.storage_growth --rows 1000000`.

Fills a database through the service's own writer with decisions that a seed makes, and measures the rate,
then the pages of the list: the first, one from the middle, and those of each filter by a common value, a rare
one and one that nobody has. The database is a new SQLite file, or the empty one of `--database`. Prints a
table; `--json FILE` writes the numbers, `--plans` prints how the database finds each page. On a busy machine
prefer CPU time.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Measure, conclude

if TYPE_CHECKING:
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
PAGE = 50
QUEUE = 5_000
BATCH = 200
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
        for page in pages(given.rows):
            measures.append(await _page(database, page, given.rounds))
            if given.plans:
                print(await plan(database, page), file=sys.stderr)  # noqa: T201
    finally:
        await database.close()
    return measures


def decisions(count: int, seed: int) -> "Iterator[NewRow]":
    """Decisions like those of a service with 14 experts, the oldest first; every EACH-th is rare in all that
    the list can be filtered by."""
    from app.storage.rows import DecisionRow, Mark, NewRow

    drawn = random.Random(seed)
    for number in range(count):
        rare = number % EACH == EACH // 2
        expert, category = drawn.choice(EXPERTS), drawn.choice(CATEGORIES)
        score = drawn.random()
        when = START + number * STEP
        marks = [f"{drawn.getrandbits(256):064x}" for _ in range(2)]
        columns = {
            "id": f"dec_{drawn.getrandbits(128):032x}",
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
            "request_id": f"req_{number}",
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
    """Write the rows. Making them is not counted."""
    from app.storage.recorder import Recorder

    recorder = Recorder(database, queue=QUEUE, batch=given.batch)
    recorder.start()
    rows = decisions(given.rows, given.seed)
    took = used = 0.0
    while made := [row for _, row in zip(range(QUEUE), rows, strict=False)]:
        started, used_before = time.perf_counter(), time.process_time()
        for row in made:
            await recorder.submit(row)
        await recorder.written(600)
        took += time.perf_counter() - started
        used += time.process_time() - used_before
    if await recorder.stop(600):
        raise SystemExit("the database did not take all rows")
    return [
        Measure("decisions written with 2 marks each", given.rows / took, "rows/s"),
        Measure("CPU time of the service for one", 1e6 * used / given.rows, "µs"),
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
        "request_id": ("req_0", "nobody's"),
    }
    for name, values in filters.items():
        for value in values:
            wanted: dict[str, Any] = {name: value}
            yield Page(f"page of {name} {value}", Filters(**wanted))
    yield Page("page of an expert, from the middle", Filters(expert=EXPERTS[0]), Cursor(middle, "dec_"))
    yield Page("page of an expert's errors", Filters(expert=EXPERTS[0], status="error"))
    yield Page("page of a rare expert's key", Filters(expert=RARE, api_key=RARE))


async def _page(database: "Database", page: Page, rounds: int) -> Measure:
    """Median of the time that reading one takes, as the API reads it."""
    from app.storage.queries import decisions_page, feedback_of, shadows_of

    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        async with database.session() as session:
            rows, _ = await decisions_page(session, page.filters, limit=PAGE, after=page.after)
            ids = [row.id for row in rows]
            await shadows_of(session, ids)
            await feedback_of(session, ids)
        times.append(1000 * (time.perf_counter() - started))
    return Measure(page.name, statistics.median(times[1:]), "ms", 50)


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
