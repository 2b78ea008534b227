"""docs/reference/configuration.md has every setting, with the default and the meaning that the code gives."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.settings import PROJECT, Settings
from ui.settings import ConsoleSettings

PAGE = (PROJECT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
ROWS = {
    name: (default, meaning)
    for name, default, meaning in re.findall(r"^\| `(COTERIE_\w+)` \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
}

SOURCES: dict[type[BaseSettings], Path] = {
    Settings: PROJECT / "app" / "settings.py",
    ConsoleSettings: PROJECT / "ui" / "settings.py",
}
DECLARED = [(each, name) for each in SOURCES for name in each.model_fields]

every_setting = pytest.mark.parametrize(
    ("settings", "name"), DECLARED, ids=[f"{each.__name__}.{name}" for each, name in DECLARED]
)


def meanings(settings: type[BaseSettings]) -> dict[str, str]:
    """The text under each field of a settings class, on one line."""
    module = ast.parse(SOURCES[settings].read_text(encoding="utf-8"))
    body = next(
        node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == settings.__name__
    )
    found: dict[str, str] = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def shown(field: FieldInfo) -> str | None:
    """A plain default as the page shows it; None for one that depends on something else."""
    if field.default is None or field.default == Path():
        return None
    text = str(field.default)
    return f"`{text.lower() if isinstance(field.default, bool) else text}`"


@every_setting
def test_the_page_has_the_setting_with_its_default(settings: type[BaseSettings], name: str) -> None:
    default, _ = ROWS[f"COTERIE_{name.upper()}"]
    expected = shown(settings.model_fields[name])
    assert default == expected if expected else default


@every_setting
def test_the_page_says_what_the_code_says_it_means(settings: type[BaseSettings], name: str) -> None:
    _, meaning = ROWS[f"COTERIE_{name.upper()}"]
    assert meaning == meanings(settings).get(name, meaning)


def test_the_page_invents_no_variable() -> None:
    settings = {f"COTERIE_{name.upper()}" for _, name in DECLARED}
    assert set(ROWS) - settings == {"COTERIE_CACHE", "COTERIE_VLLM_PYTHON"}


def test_every_variable_that_the_code_reads_is_on_the_page() -> None:
    read: set[str] = set()
    for folder in ("app", "experts", "routers", "prompts", "eval", "ui"):
        for file in (PROJECT / folder).rglob("*.py"):
            read.update(re.findall(r"COTERIE_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    assert read - ROWS.keys() == set()
