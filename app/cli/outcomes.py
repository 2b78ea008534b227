"""`coterie outcomes`."""

from pathlib import Path
from typing import Annotated

import typer

from base.json_documents import json_text
from base.terminal import console, fail

app = typer.Typer(help="Outcome tables: who answered what how well.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Outcome tables: who answered what how well."""


@app.command("describe")
def describe_table(
    table: Annotated[Path, typer.Argument(help="A folder of prompts.parquet, scores.parquet, experts.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Makes the bootstrap repeatable.")] = 0,
) -> None:
    """Check an outcome table and show what is in it: categories, gaps, who is best and how sure that is.

    Example: `coterie outcomes describe var/outcomes`
    """
    from routers.describe import describe
    from routers.outcome_table import OutcomeError, read_outcomes

    try:
        found = describe(read_outcomes(table), seed)
    except ImportError as error:
        fail(f"outcome tables need {error.name}: pip install 'coterie[fit]'")
    except OutcomeError as error:
        fail(error)
    from app.cli.outcome_views import description_document, description_view

    if as_json:
        typer.echo(json_text(description_document(found)))
        return
    console(stderr=False).print(description_view(found))


@app.command("plan")
def plan_scores(
    source: Annotated[
        Path, typer.Argument(help="An outcome table, or a composition that was fitted with its evidence.")
    ],
    judgments: Annotated[int, typer.Option(min=1, help="How many scores can be paid for.")] = 200,
    new_prompts: Annotated[
        bool | None,
        typer.Option(
            "--new-prompts/--known-prompts",
            help="Plan for prompts yet to be written, or only for those that are there and unscored.",
            show_default="known ones while any score is missing",
        ),
    ] = None,
    compute: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="B·tokens (active parameters x tokens) that the scores may take; cheap ones go first then.",
            show_default="no limit",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say which expert to score next on which category, so that the map is settled with the fewest scores.

    What no longer can change the map is left alone. Where every prompt is scored, known prompts are asked
    again if the table has several samples to tell how much answers vary. The expected regret is what the map
    is thought to lose for not knowing better, now and after these scores.

    Examples:

    - `coterie outcomes plan var/outcomes --judgments 500`

    - `coterie outcomes plan var/composition --new-prompts --json`
    """
    from app.operations.outcome_plan import PlanError, plan_for
    from routers.composition import CompositionError
    from routers.evidence import EvidenceError
    from routers.outcome_table import OutcomeError

    try:
        planned = plan_for(source, judgments, new_prompts=new_prompts, compute=compute)
    except ImportError as error:
        fail(f"outcome tables need {error.name}: pip install 'coterie[fit]'")
    except (OutcomeError, CompositionError, EvidenceError, PlanError) as error:
        fail(error)
    from app.cli.outcome_views import plan_document, plan_view

    if as_json:
        typer.echo(json_text(plan_document(planned)))
        return
    console(stderr=False).print(plan_view(planned))
