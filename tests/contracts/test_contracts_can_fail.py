"""The checks of this folder refuse what is wrong: one thing is changed in documents that were right."""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.contracts.chat_streams import chat_problems
from tests.contracts.errors import anthropic_error_problems, openai_error_problems
from tests.contracts.messages_streams import messages_problems
from tests.contracts.responses_streams import responses_problems
from tests.contracts.sse import Event, events_of
from tests.contracts.validation import problems

CHAT: Mapping[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "coder",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "routing": {"expert": "coder"},
}
MESSAGE: Mapping[str, Any] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "coder",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
TEXT = {"type": "output_text", "text": "Hi", "annotations": []}
ITEM = {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}
RESPONSE: Mapping[str, Any] = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": "coder",
    "output": [ITEM],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "status": "completed",
}
DOCUMENTS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "chat": (ChatCompletion, CHAT),
    "message": (Message, MESSAGE),
    "response": (Response, RESPONSE),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_right_document_has_no_problems(name: str) -> None:
    assert problems(*DOCUMENTS[name]) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "problem"),
    [
        ("chat", "created", "1", "$.created: str is no int"),
        ("chat", "created", True, "$.created: bool is no int"),
        ("chat", "object", "chat.completion.chunk", "$.object: 'chat.completion.chunk' is none of"),
        ("chat", "choices", None, "$.choices: null is no list"),
        ("chat", "choices.0.finish_reason", None, "$.choices[0].finish_reason: None is none of"),
        ("chat", "choices.0.finish_reason", "eos", "$.choices[0].finish_reason: 'eos' is none of"),
        ("chat", "choices.0.message.tool_calls", [{"id": 1}], "$.choices[0].message.tool_calls[0]"),
        ("chat", "choices.0.stop_reason", None, "$.choices[0].stop_reason: Choice has no such field"),
        ("chat", "usage", {}, "$.usage.completion_tokens: missing"),
        ("chat", "usage.prompt_tokens", None, "$.usage.prompt_tokens: null is no int"),
        ("chat", "decision", {}, "$.decision: ChatCompletion has no such field"),
        ("message", "content", "Hi", "$.content: str is no list"),
        ("message", "content.0.citation", None, "$.content[0].citation: TextBlock has no such field"),
        ("message", "content.0.text", None, "$.content[0].text: null is no str"),
        ("message", "stop_reason", "stop", "$.stop_reason: 'stop' is none of"),
        ("message", "usage", None, "$.usage: null is no Usage"),
        ("response", "output.0.content.0.annotations", None, "$.output[0].content[0].annotations: null"),
        ("response", "output.0.status", "done", "$.output[0].status: 'done' is none of"),
        ("response", "tools", None, "$.tools: null is no list"),
        ("response", "choices", [], "$.choices: Response has no such field"),
    ],
)
def test_a_wrong_document_is_refused(name: str, path: str, value: Any, problem: str) -> None:
    model, document = DOCUMENTS[name]
    changed: Any = copy.deepcopy(document)
    *way, last = path.split(".")
    place = changed
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    found = problems(model, changed)
    assert len(found) >= 1
    assert found[0].startswith(problem)


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "coder",
        "choices": choices,
        **more,
    }


ROLE = chunk({"role": "assistant", "content": ""}, routing={})
SAID, STOP = chunk({"content": "Hi"}), chunk({}, "stop")
TOLD = {"usage": CHAT["usage"]}
USAGE = {**chunk({}), "choices": [], **TOLD}
ERROR = {"error": {"message": "It broke.", "type": "server_error", "param": None, "code": "expert_bad_reply"}}
DONE = "[DONE]"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        pytest.param([SAID, STOP, DONE], {}, id="no role and no routing"),
        pytest.param([ROLE, SAID, DONE], {}, id="no finish reason"),
        pytest.param([ROLE, SAID, STOP], {}, id="no end"),
        pytest.param([ROLE, SAID, STOP, DONE, DONE], {}, id="two ends"),
        pytest.param([ROLE, SAID, STOP, SAID, DONE], {}, id="text after the finish reason"),
        pytest.param([ROLE, SAID, STOP, STOP, DONE], {}, id="two finish reasons"),
        pytest.param([ROLE, SAID, STOP, USAGE, DONE], {}, id="usage unasked"),
        pytest.param([ROLE, SAID, STOP, DONE], {"usage": True}, id="usage forgotten"),
        pytest.param([ROLE, USAGE, SAID, STOP, DONE], {"usage": True}, id="usage in the middle"),
        pytest.param(
            [ROLE, SAID, {**STOP, "usage": CHAT["usage"]}, USAGE, DONE], {"usage": True}, id="twice"
        ),
        pytest.param([ROLE, SAID, STOP, DONE], {"n": 2}, id="a choice is missing"),
        pytest.param([ROLE, SAID, STOP, DONE], {"logprobs": True}, id="log-probabilities are missing"),
        pytest.param([ROLE, SAID, chunk({}, "tool_calls"), DONE], {}, id="no tool call"),
        pytest.param([ROLE, {**SAID, "id": "d"}, STOP, DONE], {}, id="another id"),
        pytest.param([ROLE, SAID, ERROR, DONE], {"failed": True}, id="an end after an error"),
        pytest.param([ROLE, SAID, {"error": "broke"}], {"failed": True}, id="an error that is a text"),
        pytest.param([ROLE, SAID, STOP, DONE], {"failed": True}, id="no error"),
    ],
)
def test_a_stream_of_chat_chunks_out_of_order_is_refused(said: list[Any], asked: dict[str, Any]) -> None:
    assert chat_problems([Event(None, each) for each in said], **asked) != []


def test_a_stream_of_chat_chunks_in_order_has_no_problems() -> None:
    for said, asked in (
        ([ROLE, SAID, STOP, DONE], {}),
        ([ROLE, SAID, STOP, USAGE, DONE], {"usage": True}),
        ([ROLE, SAID, ERROR], {"failed": True}),
    ):
        assert chat_problems([Event(None, each) for each in said], **asked) == []


def typed(*said: dict[str, Any]) -> list[Event]:
    return [Event(each["type"], each) for each in copy.deepcopy(said)]


MESSAGES: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**MESSAGE, "content": [], "stop_reason": None, "routing": {}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    },
    {"type": "message_stop"},
]
PLACE: dict[str, Any] = {"item_id": "i", "output_index": 0, "content_index": 0}
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {**RESPONSE, "output": [], "routing": {}}},
    {"type": "response.in_progress", "response": {**RESPONSE, "output": []}},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {**ITEM, "content": [], "status": "in_progress"},
    },
    {"type": "response.content_part.added", **PLACE, "part": {**TEXT, "text": ""}},
    {"type": "response.output_text.delta", **PLACE, "delta": "Hi", "logprobs": []},
    {"type": "response.output_text.done", **PLACE, "text": "Hi", "logprobs": []},
    {"type": "response.content_part.done", **PLACE, "part": TEXT},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.completed", "response": RESPONSE},
]
NUMBERED = [{**each, "sequence_number": number} for number, each in enumerate(RESPONSES)]
Check = Callable[[list[Event]], list[str]]
TYPED: Mapping[str, tuple[Check, list[dict[str, Any]]]] = {
    "messages": (messages_problems, MESSAGES),
    "responses": (responses_problems, NUMBERED),
}


@pytest.mark.parametrize("name", TYPED)
def test_a_typed_stream_may_lack_none_of_its_events_nor_swap_two(name: str) -> None:
    check, said = TYPED[name]
    assert check(typed(*said)) == []
    assert check([Event("message", each) for each in said]) != []
    for left_out in range(len(said)):
        if said[left_out]["type"].endswith(".delta") or said[left_out]["type"] == "content_block_delta":
            continue  # what the pieces add up to is changed below
        assert check(_renumbered(said[:left_out] + said[left_out + 1 :])) != [], said[left_out]["type"]
    for place in range(len(said) - 1):
        swapped = [*said[:place], said[place + 1], said[place], *said[place + 2 :]]
        assert check(_renumbered(swapped)) != [], said[place]["type"]


def test_pieces_that_do_not_add_up_are_refused() -> None:
    for event, field in ((4, "delta"), (5, "text")):
        changed = copy.deepcopy(NUMBERED)
        changed[event][field] = "Ho"
        assert responses_problems(typed(*changed)) != []
    numbered = copy.deepcopy(NUMBERED)
    numbered[3]["sequence_number"] = 7
    assert responses_problems(typed(*numbered)) != []


def _renumbered(said: list[dict[str, Any]]) -> list[Event]:
    return typed(
        *(
            {**each, "sequence_number": number} if "sequence_number" in each else each
            for number, each in enumerate(said)
        )
    )


@pytest.mark.parametrize(
    "document",
    [
        {"error": "overloaded"},
        {"error": {"message": "It broke."}},
        {"error": {**ERROR["error"], "message": ""}},
        {"error": {**ERROR["error"], "code": 500}},
        {**ERROR, "detail": "It broke."},
        {"detail": [{"loc": ["body"], "msg": "It broke."}]},
        None,
    ],
)
def test_an_error_of_another_shape_is_refused(document: Any) -> None:
    assert openai_error_problems(document) != []
    assert anthropic_error_problems(document) != []


def test_an_error_is_of_one_dialect() -> None:
    theirs = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "r",
    }
    assert openai_error_problems(ERROR) == []
    assert anthropic_error_problems(theirs) == []
    assert openai_error_problems(theirs) != []
    assert anthropic_error_problems(ERROR) != []


@pytest.mark.parametrize(
    "text",
    ["data: {}\n", "data:{}\n\n", "retry 3\n\n", "event: ping\n\n", "data: {\n\n", "id: 1\ndata: {}\n\n"],
)
def test_a_stream_that_not_every_reader_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        events_of(text)


def test_a_stream_is_read_with_its_comments_and_kinds() -> None:
    text = ": ping\n\nevent: a\ndata: {}\n\ndata: [DONE]\n\n"
    assert events_of(text) == [Event("a", {}), Event(None, DONE)]
    assert json.dumps(events_of(text)[0].data) == "{}"
