"""Tool calls as servers send them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.tool_calls import StreamedCalls, whole_calls


def call(arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"function": {"name": "f", "arguments": arguments}, **fields}


@pytest.mark.parametrize("sent", [call(), call(id="", type=None), call(id=None, type="")])
def test_a_whole_call_has_an_id_and_a_type(sent: dict[str, Any]) -> None:
    (found,) = whole_calls([sent])
    assert found["id"].startswith("call_")
    assert found["type"] == "function"
    assert found["function"] == {"name": "f", "arguments": "{}"}


def test_what_a_call_has_is_kept() -> None:
    custom = {"id": "b", "type": "custom", "custom": {"name": "g"}}
    signed = call(id="a", type="function", extra_content={"signature": "s"})
    assert whole_calls([{**signed, "index": 0}, custom]) == [signed, custom]
    assert StreamedCalls().read([signed, custom]) == [{**signed, "index": 0}, {**custom, "index": 1}]


def test_arguments_are_text() -> None:
    (found,) = whole_calls([call({"place": "Hafen"})])
    assert found["function"]["arguments"] == '{"place": "Hafen"}'


@pytest.mark.parametrize(
    ("pieces", "indexes"),
    [
        ([[call(id="a", index=0)], [{"index": 0, "function": {"arguments": "1"}}]], [0, 0]),
        ([[call(id="a")], [{"function": {"arguments": "1"}}], [call(id="b")]], [0, 0, 1]),
        ([[call(id="a")], [call(id="a")], [call(id="b")]], [0, 0, 1]),
        ([[call(id="a"), call(id="b")]], [0, 1]),
        ([[call()], [{"function": {"arguments": "1"}}], [call()]], [0, 0, 1]),
        ([[call(id="a", index=10**9)], [call(id="b", index=0)]], [0, 1]),
        ([[call(id="a", index=0)], [call(id="b", index=0)]], [0, 1]),
    ],
)
def test_a_streamed_call_keeps_its_index(pieces: list[list[dict[str, Any]]], indexes: list[int]) -> None:
    fragments = StreamedCalls()
    found = [each for piece in pieces for each in fragments.read(piece)]
    assert [each["index"] for each in found] == indexes
    begun = {each["index"]: each for each in reversed(found)}
    assert all(each["id"] and each["type"] == "function" for each in begun.values())


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "type", "index", "function", "name", "arguments"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_comes_in_place_of_calls_is_no_failure(sent: Any) -> None:
    assert all(each["id"] for each in whole_calls(sent))
    assert all(each["index"] >= 0 for each in StreamedCalls().read(sent))
