"""Runs a `coterie` command as a user does, in this process: starting one takes a second and more.

What only a process can show, as signals, ports and what is imported, is tested with processes.
"""

import asyncio
import os
from dataclasses import dataclass

from typer.testing import CliRunner

from app.cli.root import build

KEPT = ("COTERIE_CACHE", "COTERIE_DATA")
"""Folders of this process that its commands use too."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it wrote to standard output and error."""

    code: int
    out: str
    err: str


def coterie(*words: str, stdin: str = "", **environment: str) -> Ran:
    """Run `coterie *words` with `environment` in place of the settings that this process has, but for KEPT.

    An exception that the command does not handle is raised here: a user would see a traceback.
    """
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("COTERIE_")}
    for kept in KEPT:
        ours.pop(kept, None)
    given = {**ours, "COLUMNS": "160", "NO_COLOR": "1", **environment}
    done = CliRunner().invoke(build(), words, input=stdin, env=given, catch_exceptions=False)
    return Ran(done.exit_code, done.stdout, done.stderr)


async def coterie_beside(*words: str, stdin: str = "", **environment: str) -> Ran:
    """The same in a thread, for a command that asks a service of the running event loop."""
    return await asyncio.to_thread(lambda: coterie(*words, stdin=stdin, **environment))
