"""`coterie eval`: the group. Each command lives in a module of its own."""

import typer

from eval.cli.compare import compare
from eval.cli.export import export
from eval.cli.judge import judge
from eval.cli.list import list_
from eval.cli.offpolicy import offpolicy
from eval.cli.personas import personas
from eval.cli.rate import rate
from eval.cli.resume import resume
from eval.cli.run import run
from eval.cli.show import show
from eval.cli.sweep import sweep

app = typer.Typer(
    name="eval",
    help="Evaluate compositions and experts: benchmarks, judges, ratings, sweeps.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("personas")(personas)
app.command("rate")(rate)
app.command("run")(run)
app.command("judge")(judge)
app.command("list")(list_)
app.command("show")(show)
app.command("compare")(compare)
app.command("resume")(resume)
app.command("sweep")(sweep)
app.command("export")(export)
app.command("offpolicy")(offpolicy)
