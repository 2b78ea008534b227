"""What evaluation writes is whole, and JSON that every reader takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from base.files import DocumentError, json_text, write_json, write_text

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


def test_folders_are_made_and_text_comes_back(tmp_path: Path) -> None:
    write_text("é\n", tmp_path / "deep" / "er" / "a.txt")
    assert (tmp_path / "deep" / "er" / "a.txt").read_text(encoding="utf-8") == "é\n"
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["a.txt"]


def test_other_mistakes_are_not_hidden() -> None:
    with pytest.raises(TypeError):
        json_text({"thing": object()})
