"""The service's settings, from a command's options and the environment."""

from typing import TYPE_CHECKING, Any

from base.terminal import fail

if TYPE_CHECKING:
    from app.settings import Settings


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
