"""A chat completion shown as a response: the same whole or streamed, and exactly what the SDK knows."""

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent

from app.dialects.responses import decision_id, response_id, responses_dialect
from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from experts.stream_events import StreamEvent
from tests.contracts.validation import problems

Document = dict[str, Any]
ROUTING = {"id": "dec_0123", "expert": "größer"}
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
TOOLS = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}},
    {"type": "custom", "name": "patch"},
    {
        "type": "namespace",
        "name": "agents",
        "description": "",
        "tools": [{"type": "function", "name": "stop"}],
    },
]


def presenter(**fields: Any) -> Any:
    document = {"model": "coterie", "input": "hi", **fields}
    dialect = responses_dialect("resp_before")
    made = dialect.to_chat(document).chat
    chat = ChatRequest(ChatBody.model_validate(made), made, dialect="responses", native=document)
    return dialect.presenter(chat)


def whole(
    message: Document, finish: str = "stop", usage: Any = USAGE, *, logprobs: Any = None, **fields: Any
) -> Document:
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
    shown = presenter(**fields)
    response: Document = shown.whole({"model": "größer", "choices": [choice], "usage": usage}, ROUTING)
    assert shown.response == response
    assert problems(Response, response) == []
    return response


def streamed(*choices: Document, usage: Any = USAGE, trace: Any = None, **fields: Any) -> list[Document]:
    shown = presenter(**fields)
    events: list[StreamEvent] = []
    for each in choices:
        chunk = {"model": "größer", "choices": [{"index": 0, "finish_reason": None, **each}]}
        events += shown.events([StreamEvent.of(chunk)], None if events else ROUTING)
    events += shown.end(trace, usage)
    seen = read(events)
    assert seen[-1]["response"] == shown.response
    return seen


def read(events: list[StreamEvent]) -> list[Document]:
    """The events as clients read them; each must be exactly what the SDK knows, and be numbered."""
    seen = []
    for event in events:
        name, data, *rest = event.raw.decode().split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        assert rest == ["", ""]
        assert problems(ResponseStreamEvent, document) == []
        seen.append(document)
    assert [each["sequence_number"] for each in seen] == list(range(len(seen)))
    return seen


def delta(**fields: Any) -> Document:
    return {"delta": fields}


def tool_call(index: int, call_id: str, name: str, arguments: str) -> Document:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def more(index: int, arguments: str) -> Document:
    return {"index": index, "function": {"arguments": arguments}}


def end(reason: str) -> Document:
    return {"delta": {}, "finish_reason": reason}


def kinds(events: list[Document]) -> list[str]:
    return [each["type"].removeprefix("response.") for each in events]


def steady(response: Document) -> Document:
    """What two answers to the same request share: not their times."""
    return {name: value for name, value in response.items() if name not in ("created_at", "completed_at")}


LOGPROBS = {
    "content": [
        {
            "token": "Hi",
            "logprob": -0.1,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -2, "bytes": [72, 111]}],
        }
    ]
}
CALLS = [tool_call(0, "a", "look", '{"x": 1}'), tool_call(1, "b", "look", "{}")]

SAME: list[tuple[str, Document, str, list[Document]]] = [
    (
        "text",
        {"content": "Hello"},
        "stop",
        [delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), end("stop")],
    ),
    ("cut off", {"content": "Hel"}, "length", [delta(content="Hel"), end("length")]),
    ("filtered", {"content": "Hel"}, "content_filter", [delta(content="Hel"), end("content_filter")]),
    (
        "refusal",
        {"content": None, "refusal": "No."},
        "stop",
        [delta(refusal="N"), delta(refusal="o."), end("stop")],
    ),
    ("nothing", {"content": ""}, "stop", [delta(content=""), end("stop")]),
    (
        "thoughts",
        {"content": "So", "reasoning_content": "hm"},
        "stop",
        [delta(reasoning_content="h"), delta(reasoning="m"), delta(content="So"), end("stop")],
    ),
    (
        "thoughts alone, cut off",
        {"content": None, "reasoning": "hm"},
        "length",
        [delta(reasoning="hm"), end("length")],
    ),
    (
        "calls",
        {"content": "I look", "tool_calls": CALLS},
        "tool_calls",
        [
            delta(content="I look"),
            delta(tool_calls=[tool_call(0, "a", "look", "")]),
            delta(tool_calls=[more(0, '{"x"')]),
            delta(tool_calls=[more(0, ": 1}")]),
            delta(tool_calls=[tool_call(1, "b", "look", "{}")]),
            end("tool_calls"),
        ],
    ),
    (
        "calls written at once",
        {"tool_calls": CALLS},
        "tool_calls",
        [
            delta(tool_calls=[tool_call(0, "a", "look", '{"x"')]),
            delta(tool_calls=[tool_call(1, "b", "look", "{")]),
            delta(tool_calls=[more(0, ": 1}")]),
            delta(tool_calls=[more(1, "}")]),
            end("tool_calls"),
        ],
    ),
    ("calls in one chunk", {"tool_calls": CALLS}, "tool_calls", [delta(tool_calls=CALLS), end("tool_calls")]),
    (
        "a call without arguments",
        {"tool_calls": [tool_call(0, "a", "look", "")]},
        "tool_calls",
        [delta(tool_calls=[tool_call(0, "a", "look", "")]), end("tool_calls")],
    ),
    (
        "a call cut off",
        {"tool_calls": [tool_call(0, "a", "look", '{"x')]},
        "length",
        [delta(tool_calls=[tool_call(0, "a", "look", '{"x')]), end("length")],
    ),
    (
        "a custom tool",
        {"tool_calls": [tool_call(0, "a", "patch", '{"input": "x\\ny"}')]},
        "tool_calls",
        [
            delta(tool_calls=[tool_call(0, "a", "patch", '{"inp')]),
            delta(tool_calls=[more(0, 'ut": "x\\ny"}')]),
            end("tool_calls"),
        ],
    ),
    (
        "a namespace",
        {"tool_calls": [tool_call(0, "a", "agents__stop", "{}")]},
        "tool_calls",
        [delta(tool_calls=[tool_call(0, "a", "agents__stop", "{}")]), end("tool_calls")],
    ),
]


@pytest.mark.parametrize(
    ("message", "finish", "chunks"), [each[1:] for each in SAME], ids=[each[0] for each in SAME]
)
def test_a_streamed_answer_is_the_whole_one(message: Document, finish: str, chunks: list[Document]) -> None:
    response = whole(message, finish, tools=TOOLS)
    events = streamed(*chunks, tools=TOOLS)
    assert steady(events[-1]["response"]) == steady(response)
    assert kinds(events)[:2] == ["created", "in_progress"]
    assert [each["item"] for each in events if each["type"] == "response.output_item.done"] == response[
        "output"
    ]
    assert _rebuilt(events) == response["output"]


def _rebuilt(events: list[Document]) -> list[Document]:
    """The output as a client puts it together, which reads nothing but deltas and ends."""
    output: list[Document] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(output)
            output.append(event["item"])
            continue
        if "output_index" not in event:
            continue
        item = output[event["output_index"]]
        assert event.get("item_id", item["id"]) == item["id"]
        if kind == "content_part.added":
            assert event["content_index"] == len(item["content"])
            item["content"].append(event["part"])
        elif kind == "content_part.done":
            assert item["content"][-1] == event["part"]
        elif kind in ("output_text.delta", "refusal.delta", "reasoning_text.delta"):
            field = "refusal" if kind.startswith("refusal") else "text"
            item["content"][-1][field] += event["delta"]
        elif kind == "function_call_arguments.delta":
            item["arguments"] += event["delta"]
        elif kind == "custom_tool_call_input.delta":
            item["input"] += event["delta"]
        elif kind == "output_item.done" and "status" in item:
            item["status"] = event["item"]["status"]
    return output


def test_the_order_of_events_is_the_published_one() -> None:
    events = streamed(
        delta(reasoning_content="hm"),
        delta(content="I"),
        delta(tool_calls=CALLS),
        end("tool_calls"),
        tools=TOOLS,
    )
    call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert kinds(events) == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *call,
        *call,
        "completed",
    ]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(finish: str, status: str, reason: str | None) -> None:
    response = whole({"content": "x"}, finish)
    assert response["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason
    assert response["output"][0]["status"] == status
    assert kinds(streamed(delta(content="x"), end(finish)))[-1] == status


def test_arguments_nested_too_deep_to_be_read_are_no_object() -> None:
    deep = "[" * 100_000
    chunks = [delta(tool_calls=[tool_call(0, "a", "look", deep)]), delta(content="Hm."), end("tool_calls")]
    last = streamed(*chunks)[-1]["response"]
    assert last["output"][0]["arguments"] == deep


def test_the_response_repeats_its_request_and_has_the_decision() -> None:
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    asked: Document = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "temperature": 0.5,
        "top_p": 0.9,
        "user": "u",
    }
    response = whole(
        {"content": "x"}, text={"format": form, "verbosity": "low"}, reasoning={"effort": "low"}, **asked
    )
    assert {name: response[name] for name in asked} == asked
    assert response["text"] == {"format": form, "verbosity": "low"}
    assert response["reasoning"]["effort"] == "low"
    assert response["id"] == "resp_0123"
    assert response["previous_response_id"] == "resp_before"
    assert response["model"] == "größer"
    assert response["routing"] == ROUTING
    assert [response["tools"], response["tool_choice"]] == [[], "auto"]


def test_the_decision_is_in_the_first_event_and_as_it_has_become_in_the_last() -> None:
    grown = {**ROUTING, "trace": {"steps": []}}
    events = streamed(delta(content="x"), end("stop"), trace=grown)
    assert events[0]["response"]["routing"] == ROUTING
    assert events[-1]["response"]["routing"] == grown


def test_what_was_left_out_is_said() -> None:
    tools = [*TOOLS, {"type": "web_search"}]
    response = whole({"content": "x"}, tools=tools, truncation="auto")
    assert response["routing"]["ignored"] == ["web_search", "truncation"]
    assert [tool["type"] for tool in response["tools"]] == ["function", "custom", "namespace"]
    assert response["truncation"] == "disabled"


def test_usage_is_counted_or_unknown() -> None:
    assert whole({"content": "x"})["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 8,
    }
    assert whole({"content": "x"}, usage=None)["usage"] is None
    assert streamed(delta(content="x"), end("stop"), usage=None)[-1]["response"]["usage"] is None


def test_logprobs_are_where_clients_look_for_them() -> None:
    asked: Document = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    expected = {**LOGPROBS["content"][0]}
    response = whole({"content": "Hi"}, logprobs=LOGPROBS, **asked)
    assert response["output"][0]["content"][0]["logprobs"] == [expected]
    events = streamed({"delta": {"content": "Hi"}, "logprobs": LOGPROBS}, end("stop"), **asked)
    (told,) = [each for each in events if each["type"] == "response.output_text.delta"]
    assert told["logprobs"] == [
        {"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Ho", "logprob": -2}]}
    ]
    assert events[-1]["response"]["output"] == response["output"]


def test_citations_are_with_the_text_that_they_are_of() -> None:
    cited = {"start_index": 0, "end_index": 1, "title": "A page", "url": "https://example.org"}
    said = [
        {"type": "url_citation", "url_citation": cited},
        {"type": "url_citation", "url_citation": {"url": 5}},
    ]
    for response in (
        whole({"content": "x", "annotations": said, "tool_calls": CALLS}, "tool_calls", tools=TOOLS),
        streamed(delta(content="x"), delta(annotations=said), end("stop"))[-1]["response"],
    ):
        assert response["output"][0]["content"][0]["annotations"] == [{"type": "url_citation", **cited}]


@pytest.mark.parametrize(("tier", "shown"), [("priority", "priority"), ("on_demand", None), (None, None)])
def test_the_service_tier_is_one_that_openai_has(tier: Any, shown: str | None) -> None:
    answer = {"choices": [{"index": 0, "message": {"content": "x"}}], "service_tier": tier}
    assert presenter().whole(answer, ROUTING)["service_tier"] == shown
    chunk = {"choices": [{"index": 0, "delta": {"content": "x"}}], "service_tier": tier}
    one = presenter()
    events = one.events([StreamEvent.of(chunk)], ROUTING) + one.end(None, None)
    assert read(events)[-1]["response"]["service_tier"] == shown


def test_other_choices_are_not_shown() -> None:
    events = streamed(delta(content="x"), {"index": 1, "delta": {"content": "y"}}, end("stop"))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "x"


def test_reasoning_that_only_its_author_reads_is_an_item() -> None:
    state = {"type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"}
    response = whole({"content": "x", "reasoning_items": [state]})
    assert response["output"][0]["encrypted_content"] == "c2VjcmV0"


SIGNED = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]
HIDDEN = [{"type": "redacted_thinking", "data": "ZGF0YQ=="}]
DETAILS = [{"type": "reasoning.text", "index": 0, "text": "hm", "signature": "c2ln"}]
CALL_STATE = {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("message", "chunks"),
    [
        (
            {"content": "x", "reasoning_content": "hm", "thinking_blocks": SIGNED},
            [
                delta(reasoning_content="h", thinking_blocks=[{"type": "thinking", "thinking": "h"}]),
                delta(reasoning_content="m", thinking_blocks=[{"type": "thinking", "thinking": "m"}]),
                delta(thinking_blocks=[{"type": "thinking", "thinking": "", "signature": "c2ln"}]),
                delta(content="x"),
            ],
        ),
        ({"content": "x", "thinking_blocks": HIDDEN}, [delta(thinking_blocks=HIDDEN), delta(content="x")]),
        (
            {"content": "x", "reasoning_details": DETAILS},
            [
                delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "h"}]),
                delta(reasoning_details=[{**DETAILS[0], "text": "m"}]),
                delta(content="x"),
            ],
        ),
        (
            {"content": None, "tool_calls": [{**CALLS[0], "extra_content": CALL_STATE}]},
            [delta(tool_calls=[{**CALLS[0], "extra_content": CALL_STATE}])],
        ),
    ],
)
def test_what_a_provider_wants_back_comes_back(message: Document, chunks: list[Document]) -> None:
    """Whole or streamed, it goes through the client in a reasoning item."""
    for output in (
        whole(message, tools=TOOLS)["output"],
        streamed(*chunks, end("stop"), tools=TOOLS)[-1]["response"]["output"],
    ):
        said = responses_dialect().to_chat({"input": output}).chat["messages"]
        assert len(said) == 1
        kept = {
            name: value for name, value in message.items() if name.startswith(("thinking_", "reasoning_"))
        }
        assert kept.items() <= said[0].items()
        calls = said[0].get("tool_calls", [])
        assert [call.get("extra_content") for call in calls] == [CALL_STATE] * len(calls)


def test_thoughts_come_back_from_clients_that_send_the_encrypted_part_alone() -> None:
    asked: Document = {"include": ["reasoning.encrypted_content"]}
    for output in (
        whole({"content": "x", "reasoning_content": "hm"}, **asked)["output"],
        streamed(delta(reasoning="h"), delta(reasoning="m"), delta(content="x"), end("stop"), **asked)[-1][
            "response"
        ]["output"],
    ):
        bare = {"type": "reasoning", "summary": [], "encrypted_content": output[0]["encrypted_content"]}
        said = responses_dialect().to_chat({"input": [bare, output[1]]}).chat["messages"]
        assert said == [{"role": "assistant", "content": "x", "reasoning_content": "hm"}]


@pytest.mark.parametrize("thoughts", [[{"type": "thinking", "thinking": "hm"}], "hm", [None]])
def test_thoughts_that_nobody_signed_are_no_state(thoughts: Any) -> None:
    response = whole({"content": "x", "thinking_blocks": thoughts})
    assert [item["type"] for item in response["output"]] == ["message"]


@pytest.mark.parametrize(
    ("status", "code"), [(502, "server_error"), (429, "rate_limit_exceeded"), (400, "invalid_prompt")]
)
def test_an_error_in_the_middle_ends_the_response(status: int, code: str) -> None:
    shown = presenter()
    chunk = {"model": "größer", "choices": [{"index": 0, "delta": {"content": "x"}}]}
    events = shown.events([StreamEvent.of(chunk)], ROUTING)
    last = read(events + shown.error(ServiceError(status, "bad", "It broke.")))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": code, "message": "It broke."}
    assert shown.response is None


def test_comments_pass_once_the_response_has_begun() -> None:
    shown = presenter()
    comment = StreamEvent(b": ping\n\n")
    assert shown.events([comment], ROUTING) == []
    chunk = {"model": "größer", "choices": [{"index": 0, "delta": {"content": "x"}}]}
    begun = shown.events([StreamEvent.of(chunk), comment], ROUTING)
    assert begun[-1] is comment
    assert read(begun[:-1])[0]["response"]["routing"] == ROUTING


def test_a_response_and_its_decision_share_an_id() -> None:
    assert response_id("dec_0123") == "resp_0123"
    assert decision_id("resp_0123") == "dec_0123"


def native(**fields: Any) -> Any:
    document = {"model": "coterie", "input": "hi", **fields}
    dialect = responses_dialect("resp_before")
    made = dialect.to_chat(document).chat
    return dialect.native(
        ChatRequest(ChatBody.model_validate(made), made, dialect="responses", native=document)
    )


def a_native(status: str = "completed", **fields: Any) -> Document:
    """A response as vLLM writes it: with more than is published, and some of it missing."""
    part: Document = {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": None}
    message = {
        "type": "message",
        "id": "msg_theirs",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_theirs",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "größer",
        "instructions": "The operator's.\n\nBe brief.",
        "output": [message] if status != "in_progress" else [],
        "parallel_tool_calls": True,
        "tool_choice": "none",
        "tools": [{"type": "function", "name": "look", "async": None}],
        "store": False,
        "text": None,
        "usage": {
            "input_tokens": 5,
            "input_tokens_details": {"cached_tokens": 1, "input_tokens_per_turn": []},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
            "total_tokens": 7,
        },
        "kv_transfer_params": None,
        **fields,
    }


def test_a_native_response_has_our_names_and_no_more_than_is_published() -> None:
    tools = [{"type": "function", "name": "look", "parameters": {}}, {"type": "web_search"}]
    shown = native(instructions="Be brief.", tools=tools)
    response = shown.whole(a_native(), ROUTING)
    assert problems(Response, response) == []
    assert shown.response == response
    expected = {"id": "resp_0123", "previous_response_id": "resp_before", "instructions": "Be brief."}
    assert expected.items() <= response.items()
    assert response["output"] == a_native()["output"]
    assert [tool["type"] for tool in response["tools"]] == ["function", "web_search"]
    assert response["tool_choice"] == "auto"
    assert (response["usage"]["input_tokens"], response["created_at"]) == (5, 1)


def test_a_native_call_has_no_more_than_is_published() -> None:
    call = {
        "type": "function_call",
        "call_id": "c1",
        "name": "look_up",
        "arguments": "{}",
        "status": "completed",
    }
    theirs = {**call, "async": False}
    assert native().whole(a_native(output=[theirs]), ROUTING)["output"] == [call]
    done = {"type": "response.output_item.done", "output_index": 0, "item": theirs}
    ended = {"type": "response.completed", "response": a_native(output=[theirs])}
    shown = native().events([StreamEvent.of(each, str(each["type"])) for each in (done, ended)], ROUTING)
    documents = [event.chunk for event in shown if event.chunk is not None]
    assert documents[0]["item"] == call
    assert documents[1]["response"]["output"] == [call]


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_native_events_are_numbered_and_end_as_published(status: str) -> None:
    shown = native()
    text = {"output_index": 0, "content_index": 0, "item_id": "msg_theirs", "logprobs": [], "delta": "Hi"}
    details = {"reason": "max_output_tokens"} if status == "incomplete" else None
    sent: list[Document] = [
        {"type": "response.created", "response": a_native("in_progress"), "sequence_number": 0},
        {"type": "response.output_text.delta", "sequence_number": 4, **text},
        {"type": "response.completed", "response": a_native(status, incomplete_details=details)},
    ]
    events: list[StreamEvent] = []
    for each in sent:
        events += shown.events([StreamEvent.of(each, each["type"])], None if events else ROUTING)
    seen = read(events + shown.end(None, USAGE))
    assert kinds(seen) == ["created", "output_text.delta", status]
    assert seen[0]["response"]["routing"] == ROUTING
    assert seen[-1]["response"] == shown.response
    assert shown.response["id"] == seen[0]["response"]["id"] == "resp_0123"


def test_a_native_stream_ends_whatever_the_status_in_its_end() -> None:
    ended: Document = {"type": "response.completed", "response": a_native("in_progress")}
    (shown,) = native().events([StreamEvent.of(ended, ended["type"])], ROUTING)
    assert shown.event == "response.completed"


@pytest.mark.parametrize("begins", [True, False])
def test_a_native_stream_that_breaks_fails_the_response(begins: bool) -> None:
    shown = native()
    created = {"type": "response.created", "response": a_native("in_progress")}
    begun = shown.events([StreamEvent.of(created)] if begins else [], ROUTING)
    last = read(begun + shown.error(ServiceError(502, "bad", "It broke.")))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert shown.response is None
