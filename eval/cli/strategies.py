"""The command group `coterie strategies`, on `routers.strategy_fitting` and `eval.strategies`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    from routers.strategies.fitted_strategies import Unit

app = typer.Typer(
    name="strategies",
    help="Fit strategies that ask several experts, and judge them on outcome tables.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def group() -> None:
    """Fit strategies that ask several experts, and judge them on outcome tables."""


@app.command("fit")
def fit(
    table: Annotated[
        Path, typer.Argument(help="The folder of an outcome table with answers.parquet.", metavar="TABLE")
    ],
    composition: Annotated[
        Path, typer.Option(help="The folder of the composition; the strategies are written into it.")
    ] = Path("var/composition"),
    by: Annotated[
        str, typer.Option(help="What budgets are in: active (billions), compute (B·tokens) or cost ($).")
    ] = "active",
    within: Annotated[
        list[float] | None,
        typer.Option(
            "--within",
            min=0.0,
            help="Average cost of a request to fit for; may be repeated.",
            show_default="multiples of the best expert's",
        ),
    ] = None,
    limit: Annotated[
        float | None, typer.Option(min=0.0, help="Maximum cost of a request over all its calls.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Average cost within which the composition chooses between one expert and a strategy.",
            show_default="by the composition's own weight on it; without one nothing is chosen",
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Maximum experts on a panel.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="The cache of embeddings.", show_default="~/.cache/coterie")
    ] = None,
) -> None:
    """Fit panels, votes, cascades and mixtures of them for a composition, and choose among them by category.

    The service runs the policies that are fitted here; `coterie strategies replay DIR TABLE` judges them on a
    table that they have not seen. Whatever is reported was predicted by the other folds.

    Examples:

    - `coterie strategies fit var/outcomes --composition var/composition`

    - `coterie strategies fit var/outcomes --composition var/composition --target 16` at most 16 B on average
    """
    from eval.strategies.fitted_views import chosen_table, policies_table
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing, load_encoder
    from routers.evidence import EvidenceError
    from routers.outcome_table import OutcomeError
    from routers.request_costs import UnknownCost
    from routers.strategy_fitting.recorded_answers import AnswersError
    from routers.strategy_fitting.strategy_files import fit_strategies
    from routers.strategy_fitting.strategy_fit import StrategyOptions

    unit = _unit(by)
    options = StrategyOptions(unit=unit, budgets=tuple(within or ()), limit=limit, most=most)
    try:
        with _steps() as step:
            found = fit_strategies(
                composition,
                table,
                load_encoder(),
                options,
                target=target,
                seed=seed,
                cache=(cache or cache_folder()) / "embeddings",
                step=step,
            )
    except KeyboardInterrupt as error:
        say("stopped; nothing was written")
        raise typer.Exit(130) from error
    except (
        AnswersError,
        CompositionError,
        EncoderMissing,
        EvidenceError,
        OutcomeError,
        UnknownCost,
        OSError,
    ) as error:
        fail(error)
    printer = console(stderr=False)
    printer.print(policies_table(found.composition, unit))
    if found.chosen is None:
        printer.print("Nothing is chosen by category without a budget: give --target.", highlight=False)
    else:
        printer.print(chosen_table(found.chosen, found.composition, unit))
    printer.print(f"composition {found.composition.digest} in {composition}", soft_wrap=True)


@app.command("replay")
def replay(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder of a composition with fitted strategies; or, alone, that of an outcome table "
            "with answers.parquet.",
            metavar="[DIR]",
        ),
    ],
    table: Annotated[
        Path | None,
        typer.Argument(help="The folder of an outcome table with answers.parquet.", metavar="TABLE"),
    ] = None,
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
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="With DIR: include prompts that were fitted on.")
    ] = False,
) -> None:
    """Judge strategies on an outcome table, with the router and all baselines.

    With DIR and TABLE: the strategies that `coterie strategies fit` put into DIR, on prompts of TABLE that
    nothing in DIR was fitted on. With TABLE alone: strategies are fitted on each fold's other prompts and
    judged on the fold; an interrupted replay reuses finished fits. No expert is asked: the table contains all
    answers and scores.

    Examples:

      coterie strategies replay var/composition outcomes/held-out --json strategies.json
      coterie strategies replay outcomes/mine --json strategies.json --picture strategies.png
    """
    if table is not None:
        _replay_fitted(folder, table, json_file, allow_seen, seed, cache)
        return
    from eval.strategies.strategy_replay import ReplaySettings
    from eval.strategies.strategy_replay import replay as run
    from routers.encoder import EncoderMissing, load_encoder
    from routers.features import features_of_prompts
    from routers.fitting import FitError
    from routers.outcome_table import OutcomeError
    from routers.strategy_fitting.recorded_answers import AnswersError, read_recorded

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
        with _steps() as step:
            data = read_recorded(folder)
            encoder = load_encoder()
            features = features_of_prompts(
                encoder,
                data.table.prompts,
                kept / "embeddings",
                lambda done, total: step(f"reading prompts: {done} of {total}"),
            )
            report = run(data, features, encoder, settings, cache=kept / "fits", step=step)
        if json_file:
            write_json(report.document(), json_file)
        if picture:
            from eval.strategies.strategy_pictures import draw_strategies

            draw_strategies(report, picture)
    except KeyboardInterrupt as error:
        say("stopped; the same command goes on from the fits that are done")
        raise typer.Exit(130) from error
    except (EncoderMissing, AnswersError, FitError, OutcomeError, ValueError, OSError) as error:
        fail(error)
    printer = console(stderr=False)
    for each in _tables(report):
        printer.print(each)
    if report.left_out:
        printer.print(f"{report.left_out} prompts left out: not scored for every expert", highlight=False)


def _replay_fitted(
    folder: Path, table: Path, json_file: Path | None, allow_seen: bool, seed: int, cache: Path | None
) -> None:
    from eval.strategies.fitted_replay import FittedReplayError, replay_fitted
    from eval.strategies.fitted_views import replay_tables
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing, load_encoder
    from routers.evidence import EvidenceError
    from routers.outcome_table import OutcomeError
    from routers.request_costs import UnknownCost
    from routers.strategy_fitting.recorded_answers import AnswersError

    try:
        with _steps() as step:
            report = replay_fitted(
                folder,
                table,
                load_encoder(),
                allow_seen=allow_seen,
                seed=seed,
                cache=(cache or cache_folder()) / "embeddings",
                step=step,
            )
        if json_file:
            write_json(report.document(), json_file)
    except (
        AnswersError,
        CompositionError,
        EncoderMissing,
        EvidenceError,
        FittedReplayError,
        OutcomeError,
        UnknownCost,
        OSError,
    ) as error:
        fail(error)
    printer = console(stderr=False)
    for each in replay_tables(report):
        printer.print(each)
    left_out = {
        "were fitted on": report.left_out_seen,
        "are not scored for every expert": report.left_out_unscored,
    }
    for why, count in left_out.items():
        if count:
            printer.print(f"{count} prompts left out: they {why}", highlight=False)


def _unit(by: str) -> "Unit":
    match by:
        case "active" | "compute" | "cost":
            return by
    fail(f"no cost {by!r}: active, compute or cost")


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Shows the current step."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("reading the table", total=None)
        yield lambda what: progress.update(task, description=what)


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
