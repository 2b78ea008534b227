"""What evaluation's commands share: one way to speak on standard error, one way to fail."""

from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

WIDTH = 160


def console(*, stderr: bool = True) -> "Console":
    """A console on standard error, or for results on standard output: there, in a file or a pipe, lines are
    `WIDTH` wide, since nobody's window sets the width."""
    from rich.console import Console

    found = Console(stderr=stderr)
    return found if stderr or found.is_terminal else Console(width=WIDTH)


def bars() -> "Progress":
    """Bars on standard error: what, how far, its `note` (a field that every task must have), time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console(),
    )


def say(text: str) -> None:
    """A line with rich's markup on standard error."""
    console().print(text, highlight=False)


def plain(text: str) -> str:
    """`text` with nothing that rich would read as markup."""
    from rich.markup import escape

    return escape(text)


def fail(error: object, code: int = 1) -> NoReturn:
    """Say what is wrong, in one line, and end."""
    console().print(f"[red]error:[/] {plain(str(error))}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)
