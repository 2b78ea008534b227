"""The service's settings and a client of it, from a command's options and the environment."""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

from base.terminal import fail
from base.validation_messages import problems_of

if TYPE_CHECKING:
    from app.settings import Settings
    from client import AsyncClient, Client

AnyClient = TypeVar("AnyClient", "AsyncClient", "Client")

CONNECT_S = 3.0
"""Short, so that a service that is not there is noticed at once."""


def read_settings(**options: Any) -> "Settings":
    """The environment's settings with the command's options over them; None was not given."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from app.settings import Settings

    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        named = [_as_given(problem, given) for problem in problems_of(error, "")]
        fail(f"the settings are wrong: {'; '.join(named)}")
    except SettingsError as error:  # a variable that holds no JSON; its text is the cause's
        field = str(error).partition('"')[2].partition('"')[0]
        fail(f"the settings are wrong: {_variable(field)}: {error.__cause__ or error}")


def _as_given(problem: str, given: Collection[str]) -> str:
    """`problem` with its field as the user knows it: the option that was given, else the variable."""
    field, _, message = problem.partition(": ")
    message = message.removeprefix("Value error, ")
    if not field:
        return message  # it names its variable itself
    first, _, rest = field.partition(".")
    name = f"--{first.replace('_', '-')}" if first in given else _variable(first)
    return f"{name}{'.' if rest else ''}{rest}: {message}"


def _variable(field: str) -> str:
    return f"COTERIE_{field.upper()}"


def open_api(kind: type[AnyClient], settings: "Settings", url: str | None) -> AnyClient:
    """A client of the running API: at `url`, or where the settings say that it listens. The key comes from
    COTERIE_API_KEY. Raises `client.ApiError` for what is no address."""
    from client import ClientTimeouts, service_base

    address = service_base(url or f"http://{settings.host}:{settings.port}")
    key = os.environ.get("COTERIE_API_KEY")
    return kind(address, key=key, timeouts=ClientTimeouts(connect_s=CONNECT_S))
