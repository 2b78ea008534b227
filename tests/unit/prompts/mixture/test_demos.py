"""Demos are read strictly: every bad line is named, and nothing is guessed."""

import json
from pathlib import Path

import pytest

from prompts.mixture.demos import (
    Demo,
    DemoError,
    are_labels,
    check_buildable,
    demos_digest,
    distinct,
    read_demos,
)


def written(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_demos_are_read_in_their_order(tmp_path: Path) -> None:
    file = written(tmp_path / "demos.jsonl", {"input": "a", "output": "1"}, "", {"input": "b", "output": "2"})
    assert read_demos(file) == (Demo("a", "1"), Demo("b", "2"))


def test_further_fields_are_ignored(tmp_path: Path) -> None:
    file = written(tmp_path / "demos.jsonl", {"id": 7, "input": "a", "output": "1"})
    assert read_demos(file) == (Demo("a", "1"),)


def test_repeats_count_once_whatever_blanks_surround_them(tmp_path: Path) -> None:
    file = written(tmp_path / "demos.jsonl", {"input": "a", "output": "1"}, {"input": " a", "output": "1 "})
    assert read_demos(file) == (Demo("a", "1"),)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "demos.jsonl"
    file.write_text('{"input": "a", "output": "x"}', encoding="utf-8-sig")
    assert read_demos(file) == (Demo("a", "x"),)


def test_a_line_separator_inside_a_text_is_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "demos.jsonl"
    file.write_text('{"input": "one\u2028two", "output": "x"}\n', encoding="utf-8")
    assert read_demos(file)[0].input == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"input": "a"}, ":2: output: must be text"),
        ({"output": "a"}, ":2: input: must be text"),
        ({"input": "a", "output": 3}, ":2: output: must be text"),
        ({"input": "  ", "output": "x"}, ":2: input: must be text"),
        ('{"input": "a", "output": "\\ud800"}', ":2: output: holds half a surrogate pair"),
        ("[1, 2]", ":2: must be an object"),
        ("{broken", ":2: is not JSON"),
        ("[" * 100_000, ":2: is not JSON"),
        ({"input": "first", "output": "another"}, ":2: has the input of .*:1 but another output"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, complaint: str) -> None:
    file = written(tmp_path / "demos.jsonl", {"input": "first", "output": "x"}, line)
    with pytest.raises(DemoError, match=complaint):
        read_demos(file)


def test_a_complaint_never_repeats_a_demo(tmp_path: Path) -> None:
    file = written(
        tmp_path / "demos.jsonl", {"input": "secret", "output": "x"}, {"input": "secret", "output": "y"}
    )
    with pytest.raises(DemoError) as raised:
        read_demos(file)
    assert "secret" not in str(raised.value)


def test_a_file_without_demos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="holds no demos"):
        read_demos(written(tmp_path / "empty.jsonl", ""))
    with pytest.raises(DemoError, match="cannot be read"):
        read_demos(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"input": "\xe9"}')
    with pytest.raises(DemoError, match="UTF-8"):
        read_demos(tmp_path / "latin.jsonl")


def test_contradictions_made_in_code_are_numbered() -> None:
    with pytest.raises(DemoError, match="demo 3: has the input of demo 1"):
        distinct([Demo("a", "1"), Demo("b", "2"), Demo("a", "3")])


def test_too_few_demos_or_one_answer_for_all_build_nothing() -> None:
    with pytest.raises(DemoError, match="3 different demos are too few: at least 8"):
        check_buildable([Demo(str(n), str(n)) for n in range(3)], 8)
    with pytest.raises(DemoError, match="same output"):
        check_buildable([Demo(str(n), "yes") for n in range(20)], 8)


def test_outputs_that_come_again_and_again_are_labels() -> None:
    assert are_labels([Demo(str(n), "yes" if n % 2 else "no") for n in range(20)])
    assert not are_labels([Demo(str(n), str(n)) for n in range(20)])


def test_a_digest_stands_for_demos_and_their_order() -> None:
    one, two = Demo("a", "b"), Demo("ab", "c")
    assert demos_digest([one, two]) == demos_digest([Demo("a", "b"), Demo("ab", "c")])
    assert len({demos_digest(each) for each in ([one, two], [two, one], [one])}) == 3
