"""`coterie reload`."""

import asyncio
import json
from typing import Annotated, Any

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import Url
from base.terminal import fail


def reload(
    as_json: Annotated[bool, typer.Option("--json", help="The answer, for machines.")] = False,
    url: Url = None,
) -> None:
    """Let the running API read its composition's folder and its rules again, without dropping a request.

    A composition that cannot be used is refused with the reason, and the old one stays. SIGHUP does the
    same to `coterie serve` when it runs without a terminal.

    Example: `coterie fit var/outcomes --out var/composition && coterie reload`
    """
    from app.cli.api import ApiRefused, ApiUnreachable

    settings = read_settings()
    try:
        done = asyncio.run(_ask(url or f"http://{settings.host}:{settings.port}"))
    except (ApiUnreachable, ApiRefused) as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(done))
    elif done["changed"]:
        typer.echo(f"composition {done['old']} → {done['new']}, {done['rules']} rules")
    else:
        typer.echo(f"composition {done['new']}, unchanged, {done['rules']} rules")


async def _ask(url: str) -> dict[str, Any]:
    from app.cli.api import ApiClient

    async with ApiClient(url) as api:
        done: dict[str, Any] = await api.post("/v1/composition/reload", {})
    return done
