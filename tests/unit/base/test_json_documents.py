"""What is written as JSON is JSON that every reader takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from base.json_documents import DocumentError, json_digest, json_text, refuse_constant, write_json

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"score": NAN}, "score"),
        ({"rows": [{"score": 0.5}, {"score": -INFINITE}]}, r"rows\.1\.score"),
        ({"points": ((0.0, INFINITE),)}, r"points\.0\.1"),
    ],
)
def test_a_figure_that_is_no_number_is_named_and_the_old_file_stays(
    tmp_path: Path, document: dict[str, Any], place: str
) -> None:
    path = tmp_path / "report.json"
    write_json({"score": 0.5}, path)
    with pytest.raises(DocumentError, match=rf"^{place} is no number"):
        write_json(document, path)
    assert json.loads(path.read_text()) == {"score": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_other_mistakes_are_not_hidden() -> None:
    with pytest.raises(TypeError):
        json_text({"thing": object()})


def test_a_digest_depends_on_content_and_not_on_the_order_of_keys() -> None:
    assert json_digest({"a": 1, "b": ["é", "\ud83d"]}) == json_digest({"b": ["é", "\ud83d"], "a": 1})
    assert json_digest({"a": [1, 2]}) != json_digest({"a": [2, 1]})


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_constants_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        json.loads(text, parse_constant=refuse_constant)
