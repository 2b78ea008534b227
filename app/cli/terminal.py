"""What commands share: questions, settings from options, one way to fail and to speak on standard error."""

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from app.settings import Settings


def warn(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"coterie: {message}\n")
    sys.stderr.flush()


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    warn(message)
    raise typer.Exit(code)


def read_question(text: str) -> str:
    """What is to be asked; `-` reads standard input. Fails when there is nothing but blanks."""
    question = sys.stdin.read() if text == "-" else text
    if not question.strip():
        where = "standard input is empty" if text == "-" else "the text is empty"
        fail(f"there is nothing to ask: {where}", 2)
    return question


def read_settings(**options: Any) -> "Settings":
    """The environment's settings with the command's options over them; None was not given."""
    from pydantic import ValidationError

    from app.settings import Settings

    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        )
        fail(f"the settings are wrong: {'; '.join(problems)}")
