"""docs/reference/registry.md has every field of the registry."""

import re

import pytest
from pydantic import BaseModel

from app.settings import PROJECT
from experts.expert import Expert, LocalServer, Timeouts
from experts.residency_settings import ResidencySettings

PAGE = (PROJECT / "docs" / "reference" / "registry.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Expert, LocalServer, ResidencySettings], ids=lambda kind: kind.__name__)
def test_every_field_has_a_row(kind: type[BaseModel]) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(kind.model_fields) <= rows


def test_the_timeouts_are_shown_with_their_defaults() -> None:
    shown = ", ".join(f"{name}: {value:g}" for name, value in Timeouts().model_dump().items())
    assert f"`{{{shown}}}`" in PAGE
