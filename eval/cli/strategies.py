"""The command group `coterie strategies`, on `eval.strategies`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.cache_folder import cache_folder
from base.json_documents import write_json
from base.terminal import console, fail, plain, say
from eval.cli.eval_options import FiguresFile

if TYPE_CHECKING:
    from rich.table import Table

    from eval.strategies.strategy_replay import StrategyReport

app = typer.Typer(
    name="strategies",
    help="Compare strategies that ask several experts, on outcome tables.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def group() -> None:
    """Compare strategies that ask several experts, on outcome tables."""


@app.command("replay")
def replay(
    table: Annotated[
        Path, typer.Argument(help="The folder of an outcome table with answers.parquet.", metavar="TABLE")
    ],
    json_file: FiguresFile = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw score against active parameters here.", metavar="FILE")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="Folds to evaluate on.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and bootstrap.")] = 0,
    within: Annotated[
        list[float] | None,
        typer.Option(
            "--within-b",
            help="Average active parameters to report at, in billions; may be repeated.",
            show_default="multiples of the best expert's",
        ),
    ] = None,
    budget_b: Annotated[
        float | None, typer.Option(help="Maximum active parameters per prompt over all calls, billions.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Maximum experts on a panel.")] = 7,
    rounds: Annotated[int, typer.Option(min=10, help="Rounds of the bootstrap over prompts.")] = 2000,
    correction: Annotated[
        bool,
        typer.Option("--correction/--no-correction", help="As of `coterie fit`; takes minutes per fold."),
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Cores for the fits, 0 for all.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="The cache of embeddings and fits.", show_default="~/.cache/coterie"),
    ] = None,
) -> None:
    """Replay cascades, votes and panels on an outcome table, with the router and all baselines.

    No expert is asked: the table contains all answers and scores. Results are cross-validated. An
    interrupted replay reuses finished fits.

    Example:

      coterie strategies replay outcomes/mine --json strategies.json --picture strategies.png
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from eval.strategies.answer_table import StrategyReplayError, read_answered
    from eval.strategies.strategy_replay import ReplaySettings
    from eval.strategies.strategy_replay import replay as run
    from routers.embeddings import encode_cached
    from routers.encoder import EncoderMissing, load_encoder
    from routers.fitting import FitError
    from routers.outcome_table import OutcomeError

    kept = cache or cache_folder()
    try:
        settings = ReplaySettings(
            folds=folds,
            parts=parts,
            seed=seed,
            rounds=rounds,
            budgets_b=tuple(within or ()),
            budget_b=budget_b,
            most=most,
            correction=correction,
            jobs=jobs,
        )
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console(), transient=True) as progress:
            task = progress.add_task("reading the table", total=None)

            def step(what: str) -> None:
                progress.update(task, description=what)

            data = read_answered(table)
            encoder = load_encoder()
            embeddings = encode_cached(
                encoder,
                data.table.prompts,
                kept / "embeddings",
                lambda done, total: step(f"reading prompts: {done} of {total}"),
            )
            report = run(data, embeddings, encoder, settings, cache=kept / "fits", step=step)
        if json_file:
            write_json(report.document(), json_file)
        if picture:
            from eval.strategies.strategy_pictures import draw_strategies

            draw_strategies(report, picture)
    except KeyboardInterrupt as error:
        say("stopped; the same command goes on from the fits that are done")
        raise typer.Exit(130) from error
    except (EncoderMissing, FitError, OutcomeError, StrategyReplayError, ValueError, OSError) as error:
        fail(error)
    printer = console(stderr=False)
    for each in _tables(report):
        printer.print(each)
    if report.left_out:
        printer.print(f"{report.left_out} prompts left out: not scored for every expert", highlight=False)


def _tables(report: "StrategyReport") -> list["Table"]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    baselines = Table(
        "baseline",
        "score",
        "active, B",
        box=SIMPLE_HEAD,
        title=f"{report.n} prompts in {report.parts} of {report.folds} folds, each fitted on the others",
        title_justify="left",
    )
    for name, (score, active) in report.baselines.items():
        baselines.add_row(name, f"{score:.4f}", f"{active:.2f}")
    strategies = Table(
        "strategy",
        "within, B",
        "score",
        "95 %",
        "active, B",
        "calls",
        "minus single",
        "minus best single",
        box=SIMPLE_HEAD,
    )
    best = {(name, active) for name, active, _ in report.pareto}
    for each in report.points:
        gains = [
            f"{each.gains[rival][0]:+.4f} ({each.gains[rival][1]:+.4f} to {each.gains[rival][2]:+.4f})"
            for rival in ("single", "best_single")
        ]
        star = " *" if (each.name, each.active_params_b) in best else ""
        strategies.add_row(
            plain(each.name) + star,
            "as fitted" if each.within_b is None else f"{each.within_b:g}",
            f"{each.score:.4f}",
            f"{each.low:.4f} to {each.high:.4f}",
            f"{each.active_params_b:.2f}",
            f"{each.calls:.2f}",
            *gains,
        )
    strategies.caption = "* nothing here, and no mix of two, scores more at its cost"
    return [baselines, strategies]
