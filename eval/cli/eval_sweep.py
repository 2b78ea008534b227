"""`coterie eval sweep`, on `eval.sweeps`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.progress import ProgressBars
from base.terminal import console, fail, plain, say
from eval.cli.eval_options import ApiKey

if TYPE_CHECKING:
    from rich.table import Table

    from eval.sweeps.sweep_store import SweepStore
    from eval.sweeps.sweep_summary import SummaryRow, SweepReport

WIDE = 200


def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="The sweep's file.", metavar="FILE.yaml", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the report.", metavar="DIR", show_default="var/eval/sweeps/RUN"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="The store of runs: an SQLite file or a PostgreSQL URL (password in PGPASSWORD).",
            show_default="var/eval/sweeps.db",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new run instead of resuming.")] = False,
    items: Annotated[Path | None, typer.Option(help="Write every item here, as CSV.", metavar="FILE")] = None,
    runs: Annotated[bool, typer.Option("--list", help="List stored runs and exit.")] = False,
    api_key: ApiKey = None,
) -> None:
    """Evaluate a grid of compositions, budgets, thresholds, strategies and prompts on the same questions.

    An interrupted or killed command resumes when run again. Prints a table of all configurations and
    baselines, and plots quality against active parameters.

    Examples:

      coterie eval sweep eval/sweeps/examples/cpu.yaml

      coterie eval sweep --list
    """
    from base.json_documents import DocumentError
    from eval.sweeps.sweep_file import SweepError
    from eval.sweeps.sweep_run import OUT, write_items, write_report
    from eval.sweeps.sweep_store import SweepStore, SweepStoreError
    from experts.answer_store import StoreError

    if not runs and file is None:
        fail("give the sweep's file; eval/sweeps/examples/cpu.yaml is one")
    try:
        with SweepStore(database) as store:
            if runs or file is None:
                console(stderr=False).print(_runs(store))
                return
            report = _run(file, store, fresh=fresh, api_key=api_key)
            folder = out or OUT / report.run
            write_report(report, folder)
            if items is not None:
                write_items(store, report.run, items)
    except (DocumentError, StoreError, SweepError, SweepStoreError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        say("\nStopped. What is done is kept; the same command goes on.")
        raise typer.Exit(130) from None
    printer = console(stderr=False)
    if not printer.is_terminal:
        # Output to a file is not wrapped to the terminal's width.
        printer.width = WIDE
    printer.print(_table(report))
    for note in report.notes:
        printer.print(f"[yellow]{plain(note)}[/]", highlight=False)
    printer.print(f"{folder}: report.json, table.csv, pareto.png", highlight=False)
    if not report.complete:
        raise typer.Exit(1)


def _run(file: Path, store: "SweepStore", *, fresh: bool, api_key: str | None) -> "SweepReport":
    from eval.sweeps.sweep_file import read_sweep
    from eval.sweeps.sweep_run import run_sweep

    read = read_sweep(file)
    with ProgressBars() as bar:
        task = bar.add(read.name)
        kept: list[int] = []

        def progress(done: int, total: int) -> None:
            if not kept:
                kept.append(done)
                note = f"({done} kept)" if done else ""
                # Cached results are excluded, since they would distort the estimated time.
                bar.tell(task, total=total - done, note=note)
            bar.tell(task, done - kept[0])

        return run_sweep(read, store, fresh=fresh, api_key=api_key, progress=progress)


def _table(report: "SweepReport") -> "Table":
    from rich.table import Table

    configurations = [row for row in report.rows if row.kind == "configuration"]
    title = f"{report.run}: {len(configurations)} configurations; * is on the Pareto front"
    table = Table("", "", "n", "score", "95 % interval", title=title, title_justify="left")
    table.add_column("over best single")
    for name in ("active B", "$/Mtok", "$/1,000", "latency s"):
        table.add_column(name, justify="right")
    kind = "configuration"
    for number, row in enumerate(report.rows, start=1):
        if row.kind != kind:
            table.add_section()
            kind = row.kind
        table.add_row(f"{number}{'*' if row.pareto else ''}", *_cells(row))
    return table


def _cells(row: "SummaryRow") -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    gain = "–"
    if row.gain is not None:
        gain = f"{row.gain.difference:+.4f} ({row.gain.low:+.4f} to {row.gain.high:+.4f})"
    return [
        plain(row.name),
        str(row.n) + (f" (-{row.missing})" if row.missing else ""),
        number(row.score, 4),
        "–" if row.low is None else f"{row.low:.4f} to {number(row.high, 4)}",
        gain,
        number(row.active_params_b, 2),
        number(row.cost, 4),
        number(row.latency_s, 2),
    ]


def _runs(store: "SweepStore") -> "Table":
    from rich.table import Table

    table = Table("run", "kind", "begun", "finished", "items", title=store.shown, title_justify="left")
    for run, count in store.runs():
        finished = "–" if run.finished_at is None else f"{run.finished_at:%Y-%m-%d %H:%M}"
        table.add_row(run.id, run.kind, f"{run.created_at:%Y-%m-%d %H:%M}", finished, str(count))
    return table
