"""`coterie eval compare`, on `eval.reports.comparison`."""

from typing import Annotated

import typer

from base.json_documents import json_text
from eval.cli.eval_options import RUNS, PrintJson, Runs


def compare(
    first: Annotated[str, typer.Argument(help="RUN or RUN:CONTESTANT (the run's first contestant).")],
    others: Annotated[list[str], typer.Argument(help="Contestants to compare it with, in the same format.")],
    runs: Runs = RUNS,
    json_out: PrintJson = False,
) -> None:
    """Compare contestants of the same or different runs on the questions that both have scores for.

    Prints the difference with its bootstrap interval, a permutation test (with Holm's correction) and the
    minimum detectable difference for this number of questions.

    Examples:

      coterie eval compare last:coterie last:qwen-coder

      coterie eval compare 20261122-0405:coterie 20261121-2210:coterie
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from base.terminal import console, fail, plain
    from eval.benchmark_registry import PROBLEMS
    from eval.reports.comparison import compare_contestants

    try:
        found = compare_contestants([first, *others], runs)
    except PROBLEMS as error:
        fail(error)
    if json_out:
        typer.echo(json_text(found))
        return
    table = Table(
        "", "minus", "difference", "95 % interval", "p (Holm)", "better/equal/worse", "n", "detectable",
        title="Mean score of a question, 0 to 1", title_justify="left", box=SIMPLE_HEAD,
    )  # fmt: skip
    for each in found["comparisons"]:
        table.add_row(
            plain(each["first"]),
            plain(each["second"]),
            f"{each['difference']:+.3f}",
            f"{each['low']:+.3f} to {each['high']:+.3f}",
            f"{each['p_holm']:.3f}",
            f"{each['better']}/{each['equal']}/{each['worse']}",
            str(each["n"]),
            "–" if each["minimum_detectable"] is None else f"{each['minimum_detectable']:.3f}",
        )
    out = console(stderr=False)
    out.print(table)
    for note in found["notes"]:
        out.print(f"note: {plain(note)}", highlight=False)
