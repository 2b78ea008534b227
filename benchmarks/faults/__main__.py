"""What clients see of faults: `python -m benchmarks.faults`.

Starts fake experts and `coterie serve` as processes, 8 clients of them, and then kills, stops, starves and
breaks one thing after the other. For each fault it prints what the clients saw; the seconds from the fault
until the slowest of the next 8 requests had its first text, at most 1 where somebody else can serve; the
requests that were lost without an error, which are to be none; and the answered requests whose decision is
not in the database, none but where a kill may lose what a setting allows.

`--cases` plays some of them. `--json FILE` writes the table, `--page docs/how-to/operate.md` puts it there.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from base.json_documents import write_json
from base.terminal import console
from benchmarks.faults import expert_faults, name_faults, service_faults
from benchmarks.faults.outcomes import Outcome
from benchmarks.faults.processes import Processes
from benchmarks.measured_pages import fill_page

GROUPS: Sequence[tuple[Sequence[str], Callable[[Processes, Collection[str]], AsyncIterator[Outcome]]]] = (
    (expert_faults.CASES, expert_faults.played),
    (name_faults.CASES, name_faults.played),
    (service_faults.KILLS, service_faults.kills),
    ((service_faults.DATABASE,), service_faults.database_gone),
    ((service_faults.DISK,), service_faults.disk_full),
)
CASES = [case for cases, _ in GROUPS for case in cases]
HEADS = ("fault", "clients saw", "next request, s", "lost", "decisions missing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--cases", nargs="*", default=CASES, metavar="WORDS", help="cases with these words")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--page", type=Path, help="the page whose measured table is replaced")
    given = parser.parse_args(arguments)
    wanted = [case for case in CASES if any(words in case for words in given.cases)]
    if not wanted:
        parser.error(f"no case has these words; there are: {'; '.join(CASES)}")
    outcomes, unplayed = asyncio.run(_play(wanted))
    _print(outcomes)
    if given.json is not None:
        write_json([asdict(each) | {"holds": each.holds} for each in outcomes], given.json)
    if given.page is not None:
        fill_page(given.page, "<!-- measured: faults -->", "<!-- end -->", _page_table(outcomes))
    for why in unplayed:
        console().print(f"not played: {why}")
    return 0 if all(each.holds for each in outcomes) else 1


async def _play(wanted: Collection[str]) -> tuple[list[Outcome], list[str]]:
    """The outcomes, and what could not be played here."""
    outcomes: list[Outcome] = []
    unplayed: list[str] = []
    for cases, play in GROUPS:
        if not (some := [case for case in cases if case in wanted]):
            continue
        with (
            tempfile.TemporaryDirectory(prefix="coterie-faults-") as folder,
            contextlib.ExitStack() as stack,
        ):
            try:
                async for outcome in play(Processes(Path(folder), stack), some):
                    outcomes.append(outcome)
                    console().print(f"{outcome.fault}: {outcome.seen}")
            except service_faults.CANNOT_PLAY as error:
                unplayed.append(f"{', '.join(some)}: {error}")
    return outcomes, unplayed


def _cells(each: Outcome) -> tuple[str, ...]:
    seconds = "none" if each.next_s is None else f"{each.next_s:.2f}"
    missing = f"{each.missing} (≤ {each.may_miss})" if each.may_miss else str(each.missing)
    return each.fault, each.seen, seconds, str(each.lost), missing


def _print(outcomes: Sequence[Outcome]) -> None:
    from rich.table import Table

    table = Table(*HEADS, "", show_edge=False, pad_edge=False)
    for each in outcomes:
        table.add_row(*_cells(each), "ok" if each.holds else "TOO MUCH")
    console(stderr=False).print(table)


def _page_table(outcomes: Sequence[Outcome]) -> str:
    rows = [HEADS, ("---", "---", "--:", "--:", "--:"), *map(_cells, outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
