"""`coterie fit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import ExpertsFile, Profile
from app.cli.terminal import fail, read_settings

if TYPE_CHECKING:
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
    classifier: Annotated[
        str, typer.Option(help="auto (the best on held-out prompts), knn, logistic or centroid.")
    ] = "auto",
    sure_accuracy: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="How often a `matched` category shall be right, held out."),
    ] = 0.9,
    active_weight: Annotated[
        float, typer.Option(min=0.0, help="Utility to give up for a billion fewer active parameters.")
    ] = 0.0,
    price_weight: Annotated[
        float, typer.Option(min=0.0, help="Utility to give up for a dollar less per million tokens.")
    ] = 0.0,
    resident_budget_b: Annotated[
        float | None,
        typer.Option(min=0.0, help="Billions of parameters that all kept experts may have together."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes folds and clusters repeatable.")] = 0,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Fit a composition: who is best at what, and how sure the router has to be.

    Stage 1 learns from our seed prompts and the table's own; stage 2 from the table's scores. The
    embeddings are cached, so a second fit is quick. Needs the `fit` extra.

    Examples:

    - `coterie score --out var/outcomes` then `coterie fit var/outcomes --out var/composition`

    - `coterie serve --composition var/composition` serves it
    """
    from routers.fitting import FitOptions

    if classifier not in {"auto", "knn", "logistic", "centroid"}:
        fail(f"no classifier {classifier!r}: auto, knn, logistic or centroid")
    options = FitOptions(
        classifier=classifier,
        sure_accuracy=sure_accuracy,
        active_weight=active_weight,
        price_weight=price_weight,
        resident_budget_b=resident_budget_b,
        seed=seed,
    )
    settings = read_settings(profile=profile, experts=experts)
    composition = _fit(table, out, options, settings.experts, only or None)
    _show(composition, out)


def _fit(
    table: Path | None, out: Path, options: "FitOptions", registry: Path, only: list[str] | None
) -> "Composition":
    from rich.console import Console
    from rich.progress import Progress

    try:
        from app.fitting import fit_from_files
    except ImportError as error:
        fail(f"fitting needs {error.name}: pip install 'coterie[fit]'")
    from app.routing import expert_card
    from experts.registry import RegistryError, load_registry
    from prompts.seeds import PromptsError
    from routers.composition import CompositionError
    from routers.embeddings import default_cache
    from routers.encoder import EncoderMissing, load_encoder
    from routers.fitting import FitError
    from routers.mapping import BudgetTooSmall
    from routers.outcomes import OutcomeError

    try:
        cards = [expert_card(expert) for expert in load_registry(registry).experts.values()]
        encoder = load_encoder()
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("encoding prompts", total=None)

            def encoded(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)
                if done == total:
                    progress.add_task("fitting", total=None)

            return fit_from_files(
                table,
                out,
                encoder,
                cards,
                options,
                experts=only,
                cache=default_cache(),
                progress=encoded,
            )
    except ImportError as error:
        fail(f"fitting needs {error.name}: pip install 'coterie[fit]'")
    except (
        RegistryError,
        PromptsError,
        OutcomeError,
        FitError,
        BudgetTooSmall,
        CompositionError,
        EncoderMissing,
    ) as error:
        fail(str(error))


def _show(composition: "Composition", out: Path) -> None:
    """The map and what held-out prompts say of it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("category")
    table.add_column("expert")
    for name in composition.expert_names:
        table.add_column(name, justify="right")
    for category, row in zip(composition.categories, composition.utilities, strict=True):
        best = composition.map[category]
        cells = [
            Text(f"{float(utility):.2f}", style="bold" if name == best else "dim")
            for name, utility in zip(composition.expert_names, row, strict=True)
        ]
        table.add_row(category, best, *cells)
    console = Console()
    console.print(table)
    held_out = composition.manifest.get("held_out", {})
    console.print(
        f"\nheld-out category accuracy {held_out.get('accuracy')}, calibration error {held_out.get('ece')}, "
        f"sure of {held_out.get('coverage')} of the prompts; generalist {composition.policy.generalist}",
        soft_wrap=True,
    )
    console.print(f"composition {composition.digest} in {out}", soft_wrap=True)
