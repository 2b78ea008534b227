"""docs/reference/api.md has every route, every field of a decision and every error code that the code has."""

import re
from dataclasses import fields

from app.api.schemas import FeedbackBody
from app.factory import create_app
from app.serving.chat_body import ChatBody, RoutingOptions
from app.settings import PROJECT, Settings
from routers.decision import UNSEEN, Choice, Classification, Decision, Reason

PAGE = (PROJECT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")

CODE = re.compile(
    r"""ServiceError\(\s*\d+,\s*"(\w+)"      # raised with a status
      | \bcode\ (?::\ str\ )?=\ "(\w+)"  # an error class's own
      | NoExpertFits\([^"]*"[^"]*"[^"]*"(\w+)"
    """,
    re.VERBOSE,
)


def routes() -> set[tuple[str, str]]:
    """Method and path of every route that clients may use."""
    paths = create_app(Settings()).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_route_has_its_heading_and_no_other_has() -> None:
    headings = re.findall(r"^### `(GET|POST|DELETE) (\S+)`$", PAGE, re.MULTILINE)
    assert set(headings) == routes()
    assert len(headings) == len(set(headings))


def test_every_field_of_a_decision_is_shown() -> None:
    example = PAGE.partition("```json\n")[2].partition("```")[0]
    for name in (*(field.name for field in fields(Decision)), *Choice._fields):
        assert f'"{name}"' in example or name in UNSEEN, name


def test_every_field_that_requests_are_read_for_is_listed() -> None:
    for name in {*ChatBody.model_fields, *RoutingOptions.model_fields, *FeedbackBody.model_fields}:
        assert re.search(rf'[`"]{name}[`"]', PAGE) or name == "stream_options", name


def test_every_reason_and_classification_is_named() -> None:
    for reason in Reason:
        assert f"| `{reason.value}` |" in PAGE
    for classification in Classification:
        assert f"`{classification.value}`" in PAGE


def test_every_error_code_of_the_source_is_explained() -> None:
    source = "\n".join(
        file.read_text(encoding="utf-8")
        for folder in ("app", "experts", "routers")
        for file in (PROJECT / folder).rglob("*.py")
    )
    codes = {code for match in CODE.findall(source) for code in match if code}
    assert codes > {"invalid_json", "expert_busy", "invalid_api_key"}
    # Base classes' own, which are never answered with.
    codes -= {"expert_error", "routing_error"}
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
