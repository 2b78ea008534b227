"""Demos are read strictly: every bad line is named, and nothing is guessed."""

import json
from pathlib import Path

import pytest

from prompts.mixture.answer_metrics import MetricName
from prompts.mixture.demos import (
    Demo,
    DemoError,
    are_labels,
    check_buildable,
    check_scorable,
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
        ({"input": "a"}, ":2: output: "),
        ({"output": "a"}, ":2: input: "),
        ({"question": "a", "output": "b"}, ":2: input: .*question"),
        ({"input": "a", "output": 3}, ":2: output: .*number"),
        ({"input": "a", "output": True}, ":2: output: .*true or false"),
        ({"input": "a", "output": None}, ":2: output: .*null"),
        ({"input": ["a"], "output": "b"}, ":2: input: .*list"),
        ({"input": "  ", "output": "x"}, ":2: input: "),
        ('{"input": "a", "output": "\\ud800"}', ":2: output: .*surrogate"),
        ("[1, 2]", ":2: .*object"),
        ("{broken", r":2: is not JSON"),
        ("[" * 100_000, ":2: is not JSON"),
        ({"input": "first", "output": "another"}, ":2: .*:1 "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, complaint: str) -> None:
    file = written(tmp_path / "demos.jsonl", {"input": "first", "output": "x"}, line)
    with pytest.raises(DemoError, match=complaint):
        read_demos(file)


def test_wrong_lines_are_told_together_and_no_more_than_can_be_read(tmp_path: Path) -> None:
    lines: list[object] = [
        {"input": str(n)} if n % 2 else {"input": str(n), "output": "x"} for n in range(40)
    ]
    with pytest.raises(DemoError) as raised:
        read_demos(written(tmp_path / "demos.jsonl", *lines))
    told = str(raised.value).splitlines()
    assert [line.split(":")[1] for line in told[:5]] == ["2", "4", "6", "8", "10"]
    assert told[5:] == ["and 15 more such lines"]


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    lines = [{"input": str(n % 3), "output": str(n)} for n in range(6)]
    with pytest.raises(DemoError) as raised:
        read_demos(written(tmp_path / "demos.jsonl", *lines))
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_that_is_one_array_is_told_as_that(tmp_path: Path, indent: int | None) -> None:
    file = tmp_path / "demos.json"
    file.write_text(json.dumps([{"input": "a", "output": "1"}, {"input": "b", "output": "2"}], indent=indent))
    with pytest.raises(DemoError, match="JSON array"):
        read_demos(file)


def test_files_with_marks_can_be_appended_to_each_other(tmp_path: Path) -> None:
    file = tmp_path / "demos.jsonl"
    parts = ('{"input": "a", "output": "x"}\r\n', '{"input": "b", "output": "y"}\r\n')
    file.write_bytes(b"".join(part.encode("utf-8-sig") for part in parts))
    assert read_demos(file) == (Demo("a", "x"), Demo("b", "y"))


@pytest.mark.parametrize(
    ("metric", "complaint"),
    [("numeric", "2 of 3 demos, whose output has no number"), ("choice", "whose output is no letter")],
)
def test_a_metric_that_finds_a_demos_own_output_wrong_is_refused(metric: MetricName, complaint: str) -> None:
    demos = [Demo("a", "many"), Demo("b", "42"), Demo("c", "none")]
    with pytest.raises(DemoError, match=complaint):
        check_scorable(demos, metric)


def test_outputs_that_a_metric_can_score_pass() -> None:
    check_scorable([Demo("a", "It is 42."), Demo("b", "1,000")], "numeric")
    check_scorable([Demo("a", "B"), Demo("b", "(c)")], "choice")
    for metric in ("exact", "verbatim", "contains"):
        check_scorable([Demo("a", "..."), Demo("b", "Two\nlines"), Demo("c", "逆")], metric)


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
    with pytest.raises(DemoError, match=r"demo 3: .*demo 1"):
        distinct([Demo("a", "1"), Demo("b", "2"), Demo("a", "3")])


def test_too_few_demos_or_one_answer_for_all_build_nothing() -> None:
    with pytest.raises(DemoError, match=r"3 different demos .*8"):
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
