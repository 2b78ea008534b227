"""`coterie outcomes`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import fail

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
    from routers.outcomes import OutcomeError, read_outcomes

    try:
        found = describe(read_outcomes(table), seed)
    except ImportError as error:
        fail(f"outcome tables need {error.name}: pip install 'coterie[fit]'")
    except OutcomeError as error:
        fail(str(error))
    from app.cli.outcome_views import description_document, description_view

    if as_json:
        typer.echo(json.dumps(description_document(found), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    Console().print(description_view(found))
