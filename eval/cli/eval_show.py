"""`coterie eval show`: recomputes and prints a run's results and report."""

from pathlib import Path
from typing import Annotated

import typer

from base.json_documents import json_text
from eval.cli.eval_options import RUNS, Runs, Verdicts


def show(
    run: Annotated[
        str, typer.Argument(help="A run's id, the beginning of one, its folder, or `last`.")
    ] = "last",
    runs: Runs = RUNS,
    verdicts: Verdicts = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show the results of a run and regenerate its report.

    Also works on running and interrupted runs, with the items so far. Sends no requests.
    """
    from base.terminal import console, fail, plain
    from eval.benchmark_registry import PROBLEMS
    from eval.engine.manifest import find_run
    from eval.reports.results import results_of, summary
    from eval.reports.write import write_report

    try:
        found = find_run(run, runs)
        given = found.manifest.options.get("verdicts")
        results = results_of(
            found,
            verdicts=verdicts or (Path(given) if given else None),
            same=found.manifest.options.get("same"),
        )
        report = write_report(found, results)
    except PROBLEMS as error:
        fail(error)
    if json_out:
        typer.echo(json_text(results))
        return
    out = console(stderr=False)
    out.print(summary(results))
    for note in results["notes"]:
        out.print(f"note: {plain(note)}", highlight=False)
    out.print(plain(str(report)), highlight=False, soft_wrap=True)
