"""`coterie experts`."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import ExpertsFile, Profile, Url
from app.cli.terminal import fail, read_settings, warn

if TYPE_CHECKING:
    from app.settings import Settings

WIDE = 120
"""Columns of a terminal that has room for descriptions."""

app = typer.Typer(help="The experts that can answer.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The experts that can answer."""


@app.command("list")
def list_experts(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Read the registry file, ask nobody.")] = False,
    url: Url = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Show every expert, and whether it is up when the API runs.

    Examples:

    - `coterie experts list`

    - `coterie experts list --local --experts experts/gpu.yaml` checks and shows a registry file
    """
    settings = read_settings(profile=profile, experts=experts)
    local = local or experts is not None
    found = _from_registry(settings) if local else _from_api(settings, url)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from app.cli.views import expert_table

    console = Console()
    console.print(expert_table(found, wide=console.width >= WIDE))


def _from_api(settings: "Settings", url: str | None) -> list[dict[str, Any]]:
    from app.cli.api import ApiClient, ApiRefused, ApiUnreachable

    async def ask() -> list[dict[str, Any]]:
        async with ApiClient(url or f"http://{settings.host}:{settings.port}") as api:
            listed: list[dict[str, Any]] = (await api.get("/v1/experts"))["data"]
        return listed

    try:
        return asyncio.run(ask())
    except ApiUnreachable as error:
        warn(f"{error}; this is the registry {settings.experts}")
        return _from_registry(settings)
    except ApiRefused as error:
        fail(str(error))


def _from_registry(settings: "Settings") -> list[dict[str, Any]]:
    from app.documents import expert_document
    from experts.registry import RegistryError, load_registry

    try:
        registry = load_registry(settings.experts)
    except RegistryError as error:
        fail(str(error))
    return [expert_document(expert, None) for expert in registry.experts.values()]
