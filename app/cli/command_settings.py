"""The service's settings, from a command's options and the environment."""

from typing import TYPE_CHECKING, Any

from base.terminal import fail
from base.validation_messages import problems_of

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
        fail(f"the settings are wrong: {'; '.join(problems_of(error, 'settings'))}")
