"""Suites are read with errors that say where they are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.checks import NumberCheck
from eval.suite import SuiteError, load_suite

SUM = {"id": "a-1", "prompt": "2 + 2?", "check": {"kind": "number", "value": 4}, "max_tokens": 8}


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return path


def test_our_own_suite_is_the_default() -> None:
    suite = load_suite()

    assert len(suite.categories) == 14
    assert len(suite.items) == len({item.id for item in suite.items}) >= 14 * 15


def test_a_file_names_the_category_unless_its_lines_do(tmp_path: Path) -> None:
    path = write(tmp_path / "sums.jsonl", SUM, "", {**SUM, "id": "a-2", "category": "other"})

    suite = load_suite(path)

    assert [(item.id, item.category) for item in suite.items] == [("a-1", "sums"), ("a-2", "other")]
    assert suite.items[0].check == NumberCheck(kind="number", value=4)
    assert suite.categories == ("sums", "other")


def test_a_folder_is_read_file_by_file_and_its_digest_follows_its_content(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {**SUM, "id": "b-1"})
    write(tmp_path / "a.jsonl", SUM)
    (tmp_path / "notes.txt").write_text("not read")

    before = load_suite(tmp_path)
    write(tmp_path / "b.jsonl", {**SUM, "id": "b-1", "max_tokens": 9})

    assert [item.id for item in before.items] == ["a-1", "b-1"]
    assert load_suite(tmp_path).digest != before.digest


def test_line_separators_inside_prompts_end_no_line(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text(
        json.dumps({**SUM, "prompt": "one\u2028two"}, ensure_ascii=False) + "\r\n", encoding="utf-8-sig"
    )

    assert load_suite(path).items[0].prompt == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be an object"),
        ('{"id": "x", "id": "y"}', "the key 'id' occurs twice"),
        ({**SUM, "prompt": " "}, "prompt: "),
        ({**SUM, "max_tokens": 0}, "max_tokens: "),
        ({**SUM, "max_tokens": "8"}, "max_tokens: "),
        ({**SUM, "answer": 4}, "answer: Extra inputs"),
        ({**SUM, "id": ""}, "id: "),
        ({**SUM, "check": {"kind": "choice", "answer": "yes"}}, "check.choice.answer: "),
        ({**SUM, "check": {"kind": "guess"}}, "check: "),
        ({**SUM, "id": "a-0"}, "'a-0'"),
    ],
)
def test_a_wrong_line_is_named_with_its_file_and_number(
    tmp_path: Path, line: dict[str, Any] | str, message: str
) -> None:
    path = write(tmp_path / "sums.jsonl", {**SUM, "id": "a-0"}, line)

    with pytest.raises(SuiteError) as caught:
        load_suite(path)

    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_deeply_nested_json_is_an_error_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"sums\.jsonl:1: "):
        load_suite(write(tmp_path / "sums.jsonl", '{"a":' * 100_000))


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(json.dumps(SUM).encode() + b"\n\xff\n")

    with pytest.raises(SuiteError, match=r"sums\.jsonl:2: is not UTF-8"):
        load_suite(path)


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="No such file"):
        load_suite(tmp_path / "missing.jsonl")
    with pytest.raises(SuiteError, match=r"holds no \.jsonl file"):
        load_suite(tmp_path)
    with pytest.raises(SuiteError, match="holds no items"):
        load_suite(write(tmp_path / "empty.jsonl"))
