"""`coterie fit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import ExpertsFile, Profile
from base.cache_folder import cache_folder
from base.progress import ProgressBars
from base.terminal import console, fail

if TYPE_CHECKING:
    from app.operations.composition_fit import Categories, FitSource
    from routers.composition import Composition
    from routers.fitting import FitOptions


def fit(
    table: Annotated[
        Path | None,
        typer.Argument(
            help="The outcome table: a folder of prompts.parquet, scores.parquet and experts.yaml.",
            show_default="none: utilities are guessed from the experts' sizes",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write the composition to.")] = Path(
        "var/composition"
    ),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Keep this expert; may be repeated.", show_default="every expert"),
    ] = None,
    categories: Annotated[
        str,
        typer.Option(
            help="table (as given), auto (clusters, as many as held-out prompts want), split (as given, "
            "divided where experts rank differently inside) or seeds (what a classifier of the seed prompts "
            "takes each for, multiple-choice prompts apart)."
        ),
    ] = "table",
    seeds: Annotated[
        bool | None,
        typer.Option(
            "--seeds/--no-seeds",
            help="Fit stage 1 on the shipped seed prompts too.",
            show_default="when the table's categories are theirs",
        ),
    ] = None,
    classifier: Annotated[
        str, typer.Option(help="auto (the best on held-out prompts), knn, logistic or centroid.")
    ] = "auto",
    correction: Annotated[
        bool | None,
        typer.Option(
            "--correction/--no-correction",
            help="Let the request correct its category's utilities where that predicts scores better.",
            show_default="where held-out decisions are better for it",
        ),
    ] = None,
    sure_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            help="How often a `matched` category shall be right, held out.",
            show_default="what scores best; 0.9 without scores",
        ),
    ] = None,
    active_weight: Annotated[
        float, typer.Option(min=0.0, help="Utility to give up for a billion fewer active parameters.")
    ] = 0.0,
    target_active_b: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Average active parameters, in billions, that held-out requests may take."
        ),
    ] = None,
    cost_weight: Annotated[
        float, typer.Option(min=0.0, help="Utility to give up for a request that costs a dollar less.")
    ] = 0.0,
    target_cost: Annotated[
        float | None,
        typer.Option(min=0.0, help="Average dollars that a held-out request may cost."),
    ] = None,
    compute_weight: Annotated[
        float,
        typer.Option(
            min=0.0, help="Utility to give up for 1,000 B·tokens less: active parameters times tokens."
        ),
    ] = 0.0,
    target_compute: Annotated[
        float | None,
        typer.Option(min=0.0, help="Average B·tokens that a held-out request may take."),
    ] = None,
    resident_budget_b: Annotated[
        float | None,
        typer.Option(min=0.0, help="Billions of parameters that all kept experts may have together."),
    ] = None,
    loaded_b: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Billions of parameters loaded at once; experts beyond wake when they are asked.",
            show_default="all",
        ),
    ] = None,
    wake_weight: Annotated[
        float,
        typer.Option(min=0.0, help="Utility to give up for an expert that wakes a second sooner."),
    ] = 0.0,
    wake_s: Annotated[float, typer.Option(min=0.0, help="Seconds that an expert takes to wake.")] = 2.58,
    run: Annotated[
        float, typer.Option(min=1.0, help="Requests of one category in a row, on average: one may wake.")
    ] = 1.0,
    strategies: Annotated[
        bool,
        typer.Option(
            "--strategies/--no-strategies",
            help="On a table with answers: fit strategies of several experts too, and choose by category "
            "between one expert and a strategy, as `coterie strategies fit` does.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Makes folds and clusters repeatable.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where embeddings and long steps are kept.", show_default="~/.cache/coterie"),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.md and pictures beside it.")] = True,
    evidence: Annotated[bool, typer.Option(help="Keep what was fitted on, for replays and plans.")] = True,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Fit a composition: who is best at what, and how sure the router has to be.

    Stage 1 learns categories from the table's prompts and our seed prompts, stage 2 from the table's
    scores. Every choice is made on held-out prompts; `report.md` says what they say. Embeddings and
    long steps are cached, so a second fit is quick and an interrupted one goes on. Needs the `fit` extra.

    Examples:

    - `coterie score --out var/outcomes` then `coterie fit var/outcomes --out var/composition`

    - `coterie fit var/outcomes --target-active-b 31` at most 31 B on average

    - `coterie fit var/outcomes --target-compute 250` at most 250 B·tokens a request

    - `coterie fit var/outcomes --loaded-b 40 --wake-weight 0.01` with 40 B loaded at once

    - `coterie serve --composition var/composition` serves it
    """
    from routers.fitting import FitError, FitOptions

    if classifier not in {"auto", "knn", "logistic", "centroid"}:
        fail(f"no classifier {classifier!r}: auto, knn, logistic or centroid")
    if categories not in {"table", "auto", "split", "seeds"}:
        fail(f"no categories {categories!r}: table, auto, split or seeds")
    try:
        options = FitOptions(
            classifier=classifier,
            sure_accuracy=sure_accuracy,
            active_weight=active_weight,
            cost_weight=cost_weight,
            compute_weight=compute_weight,
            target_active_b=target_active_b,
            target_cost=target_cost,
            target_compute=target_compute,
            resident_budget_b=resident_budget_b,
            loaded_b=loaded_b,
            wake_s=wake_s,
            wake_weight=wake_weight,
            run=run,
            correction=correction,
            seed=seed,
        )
    except FitError as error:
        fail(error)
    if strategies and (table is None or not evidence):
        fail("--strategies needs an outcome table with answers.parquet, and the evidence of the fit")
    settings = read_settings(profile=profile, experts=experts)
    source = _source(table, settings.experts, only or None, categories, seeds)
    composition = _fit(source, out, options, cache, report=report, evidence=evidence)
    if strategies and table is not None:
        composition = _fit_strategies(table, out, options, cache)
    _show(composition, out)


def _source(
    table: Path | None, registry: Path, only: list[str] | None, categories: str, seeds: bool | None
) -> "FitSource":
    try:
        from app.operations.composition_fit import FitSource
    except ImportError as error:
        fail(f"fitting needs {error.name}: pip install 'coterie[fit]'")
    from app.serving.routing import expert_card
    from experts.registry import RegistryError, load_registry

    try:
        cards = [expert_card(expert) for expert in load_registry(registry).experts.values()]
    except RegistryError as error:
        fail(error)
    return FitSource(table, cards, only, cast("Categories", categories), seeds)


def _fit(
    source: "FitSource", out: Path, options: "FitOptions", cache: Path | None, *, report: bool, evidence: bool
) -> "Composition":
    from app.operations.composition_fit import fit_from_files
    from prompts.seeds import PromptsError
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing, load_encoder
    from routers.fitting import FitError
    from routers.mapping import BudgetTooSmall
    from routers.outcome_table import OutcomeError

    try:
        encoder = load_encoder()
        with ProgressBars() as progress:
            task = progress.add("reading")

            def step(what: str, done: int, total: int) -> None:
                progress.tell(task, done, total, name=what)

            return fit_from_files(
                source,
                out,
                encoder,
                options,
                cache=cache or cache_folder(),
                step=step,
                report=report,
                keep_evidence=evidence,
            )
    except ImportError as error:
        fail(f"fitting needs {error.name}: pip install 'coterie[fit]'")
    except (
        PromptsError,
        OutcomeError,
        FitError,
        BudgetTooSmall,
        CompositionError,
        EncoderMissing,
    ) as error:
        fail(error)


def _fit_strategies(table: Path, out: Path, options: "FitOptions", cache: Path | None) -> "Composition":
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing, load_encoder
    from routers.evidence import EvidenceError
    from routers.outcome_table import OutcomeError
    from routers.request_costs import UnknownCost
    from routers.strategy_fitting.recorded_answers import AnswersError
    from routers.strategy_fitting.strategy_files import fit_strategies
    from routers.strategy_fitting.strategy_fit import StrategyOptions

    kind, target = options.target or (options.weighed, None)
    try:
        with ProgressBars() as progress:
            task = progress.add("strategies")
            return fit_strategies(
                out,
                table,
                load_encoder(),
                StrategyOptions(unit=kind),
                target=target,
                seed=options.seed,
                cache=(cache or cache_folder()) / "embeddings",
                step=lambda what: progress.tell(task, 0, 1, name=what),
            ).composition
    except (
        AnswersError,
        CompositionError,
        EncoderMissing,
        EvidenceError,
        OutcomeError,
        UnknownCost,
    ) as error:
        fail(f"the composition in {out} is fitted, its strategies are not: {error}")


def _show(composition: "Composition", out: Path) -> None:
    """The map and what held-out prompts say of it."""
    from rich.table import Table
    from rich.text import Text

    from routers.fitting.fit_report import gain_text
    from routers.request_costs import UNITS

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("category")
    table.add_column("answered by")
    for name in composition.expert_names:
        table.add_column(name, justify="right")
    chosen = composition.policy.strategies
    for category, row in zip(composition.categories, composition.utilities, strict=True):
        best = composition.map[category]
        cells = [
            Text(f"{float(utility):.2f}", style="bold" if name == best else "dim")
            for name, utility in zip(composition.expert_names, row, strict=True)
        ]
        table.add_row(category, chosen.get(category, best), *cells)
    screen = console(stderr=False)
    screen.print(table)
    held_out = composition.manifest.get("held_out", {})
    screen.print(
        f"\nheld-out category accuracy {held_out.get('accuracy')}, calibration error {held_out.get('ece')}, "
        f"sure of {held_out.get('coverage')} of the prompts; generalist {composition.policy.generalist}",
        soft_wrap=True,
    )
    if "score" in held_out:
        best = held_out["best_single"]
        screen.print(
            f"held-out score {held_out['score']} at {held_out['active_params_b']} B active on average"
            + "".join(
                f", {held_out[kind]:g} {UNITS[kind]}"
                for kind in ("cost", "compute")
                if held_out.get(kind) is not None
            )
            + "; "
            f"the best single expert, {best['expert']}, has {best['score']}: {gain_text(held_out)}",
            soft_wrap=True,
        )
    if (residency := composition.manifest.get("residency")) is not None:
        screen.print(
            f"kept loaded: {', '.join(residency['loaded']) or 'none'}; about "
            f"{residency['switches_per_request']} switches a request, fewer in batches",
            soft_wrap=True,
        )
    screen.print(f"composition {composition.digest} in {out}", soft_wrap=True)
