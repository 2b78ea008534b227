"""Options that several commands have."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Profile = Annotated[
    str | None,
    typer.Option(help="The shipped experts and composition to use: tiny, cpu or gpu.", show_default="cpu"),
]
ExpertsFile = Annotated[
    Path | None,
    typer.Option("--experts", help="The registry of experts (YAML), instead of the profile's."),
]
CompositionFolder = Annotated[
    Path | None,
    typer.Option("--composition", help="The composition's folder, instead of the profile's."),
]
Host = Annotated[
    str | None, typer.Option(help="The address that the API listens on.", show_default="127.0.0.1")
]
Port = Annotated[int | None, typer.Option(help="The port of the API.", show_default="8000")]
Workers = Annotated[
    int | None, typer.Option(help="Processes that serve the API; one a core.", show_default="1")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="COTERIE_API_URL", help="Where the API is.", show_default="http://127.0.0.1:8000"
    ),
]
Pin = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="`coterie` routes; `coterie/<category>` pins a category, an expert's name that expert.",
    ),
]
"""The request's `model`."""
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        "-s",
        help="How many experts answer: single, chain, a policy (vote, stopping@16b, …), or your own.",
        show_default="what the composition or the operator says",
    ),
]
StrategyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="An option of the strategy as NAME=VALUE (docs/reference/strategies.md); repeatable.",
    ),
]


def strategy_fields(strategy: str | None, options: list[str] | None) -> dict[str, Any]:
    """The `routing` fields of `--strategy` and `--option`. Values are JSON where they are, text else.
    Raises typer.BadParameter."""
    if strategy is None:
        if options:
            raise typer.BadParameter("--option needs the --strategy that it is for")
        return {}
    given: dict[str, Any] = {}
    for option in options or ():
        name, separator, value = option.partition("=")
        if not separator or not name.strip():
            raise typer.BadParameter(f"--option {option!r}: write NAME=VALUE")
        try:
            given[name.strip()] = json.loads(value)
        except ValueError:
            given[name.strip()] = value
    return {"strategy": strategy, **({"options": given} if given else {})}
