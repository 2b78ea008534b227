"""docker-compose.yml as Compose reads it: YAML with anchors merged, then variables put in."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from app.settings import PROJECT

FILE = PROJECT / "docker-compose.yml"

VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


class Missing(Exception):
    """A variable that has no default is not set; Compose stops with its message."""


def raw_compose() -> dict[str, Any]:
    """The file before variables are put in."""
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def compose(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with `environment` put in. Raises Missing."""
    filled = _fill(raw_compose(), environment)
    assert isinstance(filled, dict)
    return filled


def variables() -> dict[str, str]:
    """Every variable of the file and how it stands there: `?` required, `-` with a default, or empty."""
    text = "\n".join(line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {match["name"]: match["kind"] or "" for match in VARIABLE.finditer(text)}


def _fill(node: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, environment) for value in node]
    return VARIABLE.sub(lambda match: _value(match, environment), node) if isinstance(node, str) else node


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    value = environment.get(match["name"], "")
    if value or match["kind"] is None:
        return value
    if match["kind"] == "?":
        raise Missing(match["rest"])
    return match["rest"]
