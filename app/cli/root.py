"""The command's root: what there is, and what other folders add through entry points."""

import sys
from importlib.metadata import EntryPoint, entry_points

import typer

from app.cli import ask, curve, db, experts, fit, outcomes, prompts, reload, residency, route, serve, up
from base.terminal import warn

GROUP = "coterie.commands"
"""Entry points of this group are typer apps; the entry point's name is the command's."""

HELP = """
Coterie answers each chat request with the expert that is best for it.

It classifies the request, maps the category to an expert, and says why.

First steps:

    coterie up                         experts, API and console on this machine

    coterie ask "Sort a list in Go"    an answer, and who gave it

    coterie route "Sort a list in Go"  the decision alone, as a table

Settings are environment variables: COTERIE_PROFILE, COTERIE_EXPERTS, COTERIE_COMPOSITION,
COTERIE_DATABASE_URL, COTERIE_API_KEYS, … (docs/reference/configuration.md has them all).
"""


def build() -> typer.Typer:
    """The command with everything in it."""
    app = typer.Typer(
        name="coterie",
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("up")(up.up)
    app.command("serve")(serve.serve)
    app.command("reload")(reload.reload)
    app.command("ask")(ask.ask)
    app.command("route")(route.route)
    app.add_typer(experts.app, name="experts")
    app.command("fit")(fit.fit)
    app.command("curve")(curve.curve)
    app.add_typer(outcomes.app, name="outcomes")
    app.add_typer(residency.app, name="residency")
    app.add_typer(prompts.app, name="prompts")
    app.add_typer(db.app, name="db")
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        _add(app, entry)
    return app


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        added = entry.load()
    except ImportError as error:
        # An extra that is not installed takes its own commands away, not everybody's.
        warn(f"the command {entry.name!r} is not available: {error}")
        return
    if isinstance(added, typer.Typer):
        app.add_typer(added, name=entry.name)
    else:
        app.command(entry.name)(added)


def main() -> None:
    """The console script."""
    try:
        build()()
    except BrokenPipeError:
        # `coterie route … | head`: the reader has what it wanted.
        sys.stderr.close()
        sys.exit(0)
