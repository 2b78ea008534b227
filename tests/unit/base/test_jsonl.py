"""JSON lines: what counts as a line, and how mistakes are told."""

import gzip
import json
from pathlib import Path

import pytest

from base.jsonl import JsonlError, read_lines, read_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_only_line_feeds_end_lines(path: Path) -> None:
    path.write_bytes('\ufeff{"a": "\u2028\u0085"}\r\n\n  \n\ufeff{"a": 2}'.encode())
    assert read_rows(path) == [(f"{path}:1", {"a": "\u2028\u0085"}), (f"{path}:4", {"a": 2})]


SEPARATORS = ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c", "\u001e"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_characters_that_other_readers_break_lines_at_stay_in_strings(path: Path, separator: str) -> None:
    escaped = separator if ord(separator) >= 0x7F else json.dumps(separator)[1:-1]
    path.write_bytes(f'{{"a": "x{escaped}y"}}\n{{"a": 2}}'.encode("utf-8-sig"))
    assert [row for _, row in read_rows(path)] == [{"a": f"x{separator}y"}, {"a": 2}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_count(path: Path, end: str) -> None:
    path.write_bytes(f'{end}{{"a": 1}}{end}{end}{{"a": 2}}{end}'.encode())
    assert read_rows(path) == [(f"{path}:2", {"a": 1}), (f"{path}:4", {"a": 2})]


def test_a_last_line_that_was_cut_off_can_be_passed_over(path: Path) -> None:
    path.write_bytes(b'{"a": 1}\n{"a": "\xc3')
    assert read_lines(path, unfinished=True) == [(f"{path}:1", '{"a": 1}')]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a":\n', ":2: is not JSON"),
        (b"\n[1]\n", ":2: must be an object"),
        (b'{"a": 1, "a": 2}', ":1: is not JSON: the key 'a' occurs twice"),
        (b'{}\n{"a": "\xc3"}', ":2: is not UTF-8"),
        (b"[" * 100_000, ":1: is not JSON"),
        ('{"a": 1}'.encode("utf-16"), ":1: is UTF-16, not UTF-8 text: save it as UTF-8"),
        ('{"a": 1}'.encode("utf-32"), ":1: is UTF-32"),
        ('{"a": 1}'.encode("utf-16-le"), ":1: holds a NUL character: is it UTF-16?"),
        (gzip.compress(b"{}", mtime=0), ": is compressed (gzip): unpack it first"),
        (b'{"a": 1}\r{"a":\r', ":2: is not JSON"),
    ],
)
def test_mistakes_name_the_line(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(JsonlError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}{said}")


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(JsonlError, match="cannot be read"):
        read_rows(path)
