"""`coterie reload`."""

import json
from typing import Annotated

import typer

from app.cli.command_settings import open_api, read_settings
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
    from client import ApiError, Client

    try:
        with open_api(Client, read_settings(), url) as api:
            done = api.reload()
    except ApiError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(done.document()))
        return
    what = f"{done.old} → {done.new}" if done.changed else f"{done.new}, unchanged"
    by = f", by {done.workers} workers" if done.workers > 1 else ""
    typer.echo(f"composition {what}, {done.rules} rules{by}")
