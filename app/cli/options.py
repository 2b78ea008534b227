"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

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
