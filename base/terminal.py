"""How commands speak: messages on standard error, results on standard output, one way to fail.

rich and typer are imported when something is printed or fails.
"""

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160
"""Of lines in a file or a pipe, where no window sets it."""


def warn(message: object) -> None:
    """One line on standard error."""
    sys.stderr.write(f"coterie: {message}\n")
    sys.stderr.flush()


def fail(message: object, code: int = 1) -> NoReturn:
    """Say what is wrong and end the command with `code`."""
    import typer

    warn(message)
    raise typer.Exit(code)


def console(*, stderr: bool = True) -> "Console":
    """A console on standard error, or for results on standard output."""
    from rich.console import Console

    found = Console(stderr=stderr)
    return found if stderr or found.is_terminal else Console(width=WIDTH)


def say(text: str) -> None:
    """A line with rich's markup on standard error."""
    console().print(text, highlight=False)


def plain(text: str) -> str:
    """`text` with nothing that rich would read as markup."""
    from rich.markup import escape

    return escape(text)


def read_question(text: str) -> str:
    """What is to be asked; `-` reads standard input. Fails when there is nothing but blanks."""
    question = sys.stdin.read() if text == "-" else text
    if not question.strip():
        where = "standard input is empty" if text == "-" else "the text is empty"
        fail(f"there is nothing to ask: {where}", 2)
    return question
