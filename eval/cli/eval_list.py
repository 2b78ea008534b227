"""`coterie eval list`."""

import typer

from base.json_documents import json_text
from eval.cli.eval_options import RUNS, PrintJson, Runs


def list_(
    runs: Runs = RUNS,
    json_out: PrintJson = False,
) -> None:
    """List runs, newest first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from base.terminal import console, plain, say
    from eval.engine.manifest import list_runs

    found = list_runs(runs)
    out = console(stderr=False)
    if json_out:
        typer.echo(json_text([run.manifest.model_dump(mode="json") for run in found]))
        return
    if not found:
        say(f"No runs in {plain(str(runs))}. Start one: coterie eval run checkable --against coterie")
        return
    table = Table("run", "against", "judges", "questions", "status", box=SIMPLE_HEAD)
    for run in found:
        manifest = run.manifest
        table.add_row(
            plain(manifest.id),
            plain(", ".join(str(each["name"]) for each in manifest.contestants)),
            plain(", ".join(str(each["name"]) for each in manifest.protocol.get("judges") or ())),
            str(manifest.questions),
            manifest.status,
        )
    out.print(table)
