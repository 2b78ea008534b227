"""Chunks pass as they are; the decision, the usage and the end are put in where they belong."""

import json
from typing import Any

import pytest

from app.dialects.chat_completions import ChatPresenter
from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from experts.expert_replies import END_OF_STREAM, StreamEvent

ROUTING = {"id": "dec_1", "expert": "größer"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def presenter(**fields: Any) -> ChatPresenter:
    document = {"model": "coterie", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatPresenter(ChatRequest(ChatBody.model_validate(document), document))


def chunk(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "e",
        "choices": [choice],
        **more,
    }


def streamed(shown: ChatPresenter, *chunks: dict[str, Any], trace: Any = None) -> list[dict[str, Any]]:
    """The chunks that the client sees; the last event must be the end."""
    events: list[StreamEvent] = []
    for each in chunks:
        out = shown.events([StreamEvent.of(each)], ROUTING if not events else None)
        events += out
    events += shown.end(trace, USAGE)
    assert events[-1] is END_OF_STREAM
    return [json.loads(event.raw.removeprefix(b"data: ")) for event in events[:-1]]


def test_the_first_chunk_has_the_decision_and_nothing_else_changes() -> None:
    seen = streamed(presenter(), chunk("a"), chunk("b"), chunk("", "stop"))
    assert seen == [{**chunk("a"), "routing": ROUTING}, chunk("b"), chunk("", "stop")]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_no_chunk_without_choices_comes_unasked(options: dict[str, Any] | None) -> None:
    usage = {**chunk(), "choices": [], "usage": USAGE}
    seen = streamed(
        presenter(stream_options=options),
        {**usage},
        chunk("a", usage=USAGE),
        chunk("", "stop"),
        usage,
        trace={},
    )
    assert [bool(each["choices"]) for each in seen] == [True, True]
    assert all("usage" not in each for each in seen)
    assert seen[0]["routing"] == ROUTING


@pytest.mark.parametrize("told", [True, False])
def test_usage_comes_once_to_those_who_ask(told: bool) -> None:
    """Wherever the expert told it: some do so beside the last words, or again and again."""
    usage = [{**chunk(), "choices": [], "usage": USAGE}] if told else []
    said = [chunk("a", usage={**USAGE, "completion_tokens": 1}), chunk("", "stop", usage=USAGE)]
    seen = streamed(presenter(stream_options={"include_usage": True}), *said, *usage)
    assert [each.get("usage") for each in seen] == [None, None, USAGE]
    assert seen[-1]["choices"] == []


@pytest.mark.parametrize("known", [None, {"prompt_tokens": 3}])
def test_half_a_count_is_no_usage(known: Any) -> None:
    shown = presenter(stream_options={"include_usage": True})
    shown.events([StreamEvent.of(chunk("a", "stop"))], ROUTING)
    last, end = shown.end(None, known)
    assert last.chunk is not None and last.chunk["choices"]
    assert end is END_OF_STREAM


def test_what_a_strategy_did_is_in_the_chunk_that_ends_it() -> None:
    seen = streamed(presenter(), chunk("a"), chunk("", "stop"), trace={"trace": 1})
    assert [each.get("routing") for each in seen] == [ROUTING, {"trace": 1}]


def test_choices_may_end_apart() -> None:
    seen = streamed(presenter(), chunk("a", "stop"), chunk("b"), chunk("", "length"))
    assert [each["choices"][0]["finish_reason"] for each in seen] == ["stop", None, "length"]


def test_a_failure_is_the_last_event() -> None:
    shown = presenter()
    shown.events([StreamEvent.of(chunk("a", "stop"))], ROUTING)
    held, error = shown.error(ServiceError(502, "expert_bad_reply", "It broke."))
    assert held.chunk is not None and held.chunk["choices"][0]["finish_reason"] == "stop"
    assert error.chunk is not None and error.chunk["error"]["code"] == "expert_bad_reply"
