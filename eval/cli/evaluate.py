"""`coterie eval`: the group. Each command lives in a module of its own."""

import typer

from eval.cli.personas import personas
from eval.cli.rate import rate
from eval.cli.run import run

app = typer.Typer(
    name="eval",
    help="Evaluate compositions and experts: benchmarks, judges, ratings, sweeps.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("personas")(personas)
app.command("rate")(rate)
app.command("run")(run)
