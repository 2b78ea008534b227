"""JSON in and out."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.json import BadJson, read_json
from base.json_documents import json_bytes

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_what_is_written_is_read_back(value: object) -> None:
    assert read_json(json_bytes(value)) == value


@given(values)
def test_escaped_text_is_read_like_json_does(value: object) -> None:
    assert read_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(BadJson):
        read_json(raw)


@pytest.mark.parametrize("raw", [rb'"\ud83d"', rb'"\udE00 x"', rb'{"a\ud83d": ["\ud83dz"]}'])
def test_half_a_surrogate_pair_becomes_a_character_that_can_be_written(raw: bytes) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in json.dumps(read_json(raw), ensure_ascii=False)
    json_bytes(read_json(raw)).decode()


def test_a_whole_pair_stays_what_it_is() -> None:
    assert read_json(rb'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize("raw", [b"NaN", b"[Infinity]", b'{"a": -Infinity}'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        read_json(raw)


def test_a_refusal_does_not_repeat_the_text() -> None:
    with pytest.raises(BadJson) as raised:
        read_json(b'{"a": my-secret}')
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_encodings_of_json_are_told_apart(encoding: str) -> None:
    assert read_json('{"a": "é \\ud83d"}'.encode(encoding)) == {"a": "é \N{REPLACEMENT CHARACTER}"}
