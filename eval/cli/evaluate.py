"""The command group `coterie eval`; each command has its own module."""

import typer

from eval.cli.eval_compare import compare
from eval.cli.eval_export import export
from eval.cli.eval_feedback import feedback
from eval.cli.eval_judge import judge
from eval.cli.eval_list import list_
from eval.cli.eval_offpolicy import offpolicy
from eval.cli.eval_personas import personas
from eval.cli.eval_rate import rate
from eval.cli.eval_resume import resume
from eval.cli.eval_run import run
from eval.cli.eval_show import show
from eval.cli.eval_sweep import sweep

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
app.command("feedback")(feedback)
app.command("offpolicy")(offpolicy)
