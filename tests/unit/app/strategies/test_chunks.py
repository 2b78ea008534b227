"""A streamed answer, read to its end, is the whole one."""

from typing import Any

from app.strategies.chunks import as_completion


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "a", "choices": [choice]}


def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, **more, "function": {**name, "arguments": arguments}}


def test_text_is_joined() -> None:
    whole = as_completion([chunk(role="assistant", content="He"), chunk(content="y"), chunk("length")])
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "Hey"}
    assert (whole["object"], whole["choices"][0]["finish_reason"]) == ("chat.completion", "length")


def test_pieces_of_tool_calls_are_put_together_by_their_index() -> None:
    whole = as_completion(
        [
            chunk(role="assistant", content=None),
            chunk(tool_calls=[piece(0, "", id="a", type="function", name="f")]),
            chunk(tool_calls=[piece(1, '{"y"', id="b", type="function", name="g")]),
            chunk(tool_calls=[piece(0, '{"x": '), piece(1, ": 2}")]),
            chunk(tool_calls=[piece(0, "1}")]),
            chunk("tool_calls"),
        ]
    )
    assert whole["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y": 2}'}},
        ],
    }
