"""`coterie curve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from base.json_documents import write_json
from base.terminal import console, fail, warn

if TYPE_CHECKING:
    from routers.request_costs import CostKind

HELD_OUT = "held-out"


def curve(
    composition: Annotated[Path, typer.Argument(help="The composition's folder.")],
    table: Annotated[
        str, typer.Argument(help="An outcome table, or `held-out` for the prompts its fit had put aside.")
    ] = HELD_OUT,
    by: Annotated[
        str, typer.Option(help="What is paid: active (parameters), cost (dollars) or compute.")
    ] = "active",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it here (PNG, SVG or PDF).")] = None,
) -> None:
    """Show what quality costs: every trade between score and what is paid that a composition offers.

    The hull is what it reaches with one expert for each request or a strategy that `coterie strategies fit`
    fitted; beside it stands what mixing single experts by chance would reach. On a table with answers the
    strategies are run, otherwise their own evidence counts.

    Examples:

    - `coterie curve var/composition --picture curve.png`

    - `coterie curve var/composition var/new-outcomes --by compute --json curve.json`
    """
    if by not in ("active", "cost", "compute"):
        fail(f"no cost {by!r}: active, cost or compute")
    kind = cast("CostKind", by)
    try:
        from app.operations.curve_report import held_out_curve, table_curve
        from routers.composition import CompositionError
        from routers.embeddings import vectors_folder
        from routers.encoder import EncoderMissing, load_encoder
        from routers.evidence import EvidenceError
        from routers.outcome_table import OutcomeError
        from routers.request_costs import UnknownCost
        from routers.strategy_fitting.recorded_answers import AnswersError

        seen = 0
        try:
            if table == HELD_OUT:
                found, prompts = held_out_curve(composition, kind)
            else:
                cache = vectors_folder()
                found, prompts, seen = table_curve(
                    composition, Path(table), load_encoder(), kind, cache=cache
                )
        except (
            AnswersError,
            CompositionError,
            EncoderMissing,
            EvidenceError,
            OutcomeError,
            UnknownCost,
        ) as error:
            fail(error)
        if seen:
            warn(f"{seen} of these {prompts} prompts were fitted on: the curve flatters the composition")
        document = {"composition": str(composition), "n": prompts, "fitted_on": seen, **found.document()}
        if json_file is not None:
            write_json(document, json_file)
        if picture is not None:
            from routers.fit_pictures import draw_curve

            draw_curve(picture, found, f"Quality and cost, {prompts:,} prompts")
    except ImportError as error:
        fail(f"curves need {error.name}: pip install 'coterie[fit]'")
    from rich.table import Table

    from routers.cost_curve import score_at

    shown = Table(show_edge=False, pad_edge=False)
    for head in (found.by, "score", "mixing single experts"):
        shown.add_column(head, justify="right")
    shown.add_column("answered by")
    for point in found.hull:
        mixed = score_at(found.line, point.cost)
        cells = f"{point.cost:.3g}", f"{point.score:.4f}", "–" if mixed is None else f"{mixed:.4f}"
        shown.add_row(*cells, point.strategy or "one expert")
    console(stderr=False).print(shown)
