"""YAML files of people: what their editors write, and where mistakes are."""

from pathlib import Path

import pytest

from base.yaml_lines import YamlProblem, read_yaml


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
@pytest.mark.parametrize("value", ["x{}y", '"x{}y"', "'x{}y'", "|-\n  x{}y", "[x{}y]"])
def test_only_line_feeds_end_lines(path: Path, value: str, separator: str) -> None:
    path.write_text(f"key: {value.format(separator)}\nother: 1\n", encoding="utf-8")
    data, lines = read_yaml(path)
    text = f"x{separator}y"
    assert data == {"key": [text] if value.startswith("[") else text, "other": 1}
    assert lines.of(("other",)) == (3 if "\n" in value else 2)


def test_a_byte_order_mark_and_other_line_ends_are_read(path: Path) -> None:
    path.write_bytes("\ufeffkey: 1\r\nother: é\r\n".encode())
    assert read_yaml(path)[0] == {"key": 1, "other": "é"}


def test_an_alias_is_put_back_once(path: Path) -> None:
    path.write_text("a: &x [p\u2028q]\nb: *x\n", encoding="utf-8")
    assert read_yaml(path)[0] == {"a": ["p\u2028q"], "b": ["p\u2028q"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: \x0c\n", ":2: holds the character U+000C"),
        ("a: 1\n".encode("utf-16"), ":1: is UTF-16"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8"),
        (b"a: 1\na: 2\n", ":2: a: written twice"),
    ],
)
def test_mistakes_name_the_line(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(YamlProblem) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{said}")
