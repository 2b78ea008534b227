"""Tool calls as servers send them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.tool_calls import JoinedCalls, StreamedCalls, whole_calls


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


def joined(*pieces: dict[str, Any], **most: int) -> list[dict[str, Any]]:
    streamed, calls = StreamedCalls(), JoinedCalls(**most)
    for piece in pieces:
        calls.add(streamed.read([piece]))
    return calls.whole()


def test_pieces_make_the_call_that_they_are_of() -> None:
    signed = call('{"x": ', id="a", type="function", extra_content={"signature": "s"})
    whole = {**signed, "function": {"name": "f", "arguments": '{"x": 1}'}}
    more = [{"function": {"arguments": each}} for each in ("1", "}")]
    other = call("{}", id="b", type="function")
    assert joined(signed, *more, other) == [whole, other]
    assert joined(signed, *more, other, most_calls=1) == [whole]


def test_pieces_of_a_custom_tool_s_input_are_joined() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "g", "input": ""}}
    more = [{"index": 0, "custom": {"input": each}} for each in ("SELECT", " 1")]
    whole = {"id": "a", "type": "custom", "custom": {"name": "g", "input": "SELECT 1"}}
    assert joined(first, *more) == [whole]
    assert whole_calls([{"id": "a", "custom": whole["custom"]}]) == [whole]


def test_a_call_with_too_long_arguments_keeps_its_id() -> None:
    (found,) = joined(call("12345", id="a"), most_characters=5)
    assert (found["id"], found["function"]) == ("a", {"name": "f", "arguments": ""})


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
    assert all(each["id"] for each in joined(*(sent if isinstance(sent, list) else [sent])))
    JoinedCalls().add(sent)
