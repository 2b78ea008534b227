"""Answers in every form that servers of chat completions have been seen to give them, and such a server.

Each is right in what it says, and wrong or unusual in how: what a client gets must not show it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from experts.fake import serve_in_thread

Chunk = dict[str, Any]
MARK = re.compile(r"\[\[([\w-]+)\]\]")


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> Chunk:
    """`more` are fields of the chunk, `choice` of its choice."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}
    return base | more


def calls(*called: Mapping[str, Any], finish: str | None = None) -> Chunk:
    return chunk({"tool_calls": list(called)}, finish)


def call(index: int | None, id: str | None = None, arguments: Any = None) -> Chunk:
    """The beginning of a call where it has an id."""
    out: Chunk = {"index": index, "id": id, "type": "function" if id else None}
    function = {"name": "look_up" if id else None, "arguments": arguments}
    known = {name: value for name, value in function.items() if value is not None}
    return {**{name: value for name, value in out.items() if value is not None}, "function": known}


def bare(choice: Mapping[str, Any], **more: Any) -> Chunk:
    return {**chunk(), "choices": [dict(choice)], **more}


START, HI, STOP = chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk(None, "stop")
CALLED = chunk(None, "tool_calls")
ONE, TWO = '{"text": "1"}', '{"text": "2"}'
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
MORE = {**USAGE, "cost": 1, "prompt_tokens_details": None}
FIRST = chunk({"role": "assistant", "content": "Hi"})
FUNCTION = {"name": "look_up", "arguments": ONE}
SHAPES: Mapping[str, Sequence[Chunk]] = {
    # Tool calls.
    "call-pieces": [
        START,
        calls(call(0, "a", "")),
        calls(call(0, None, ONE[:4])),
        calls(call(0, None, ONE[4:])),
        CALLED,
    ],
    "calls-unnumbered": [START, calls(call(None, "a", ONE)), calls(call(None, "b", TWO)), CALLED],
    "calls-all-numbered-0": [START, calls(call(0, "a", ONE)), calls(call(0, "b", TWO)), CALLED],
    "call-numbered-1": [START, calls(call(1, "a", ONE)), CALLED],
    "call-without-id": [START, calls({"index": 0, "function": FUNCTION}), CALLED],
    "call-id-repeated": [START, calls(call(0, "a", ONE[:4])), calls(call(0, "a", ONE[4:])), CALLED],
    "call-id-empty": [
        START,
        calls(call(0, "a", ONE[:4])),
        calls({**call(0, None, ONE[4:]), "id": ""}),
        CALLED,
    ],
    "call-arguments-object": [START, calls(call(0, "a", {"text": "1"})), CALLED],
    "call-arguments-none": [START, calls(call(0, "a")), CALLED],
    "call-arguments-empty": [START, calls(call(0, "a", "")), CALLED],
    "call-ends-at-once": [START, calls(call(0, "a", ONE), finish="tool_calls")],
    "call-ends-with-stop": [START, calls(call(0, "a", ONE)), STOP],
    "call-after-text": [START, HI, calls(call(0, "a", ONE)), CALLED],
    "call-of-a-function": [START, chunk({"function_call": FUNCTION}), chunk(None, "function_call")],
    "calls-none": [START, chunk({"content": "Hi", "tool_calls": []}), chunk({"tool_calls": None}, "stop")],
    "calls-meant": [START, HI, CALLED],
    # Text and roles.
    "no-role": [HI, STOP],
    "role-null": [chunk({"role": None, "content": "Hi"}), chunk({"role": None, "content": None}, "stop")],
    "role-again": [
        START,
        chunk({"role": "assistant", "content": "Hi"}),
        chunk({"role": "assistant"}, "stop"),
    ],
    "text-null": [chunk({"role": "assistant", "content": None}), HI, chunk({"content": None}, "stop")],
    "text-in-parts": [START, chunk({"content": [{"type": "text", "text": "Hi"}]}), STOP],
    "text-ends-at-once": [chunk({"role": "assistant", "content": "Hi"}, "stop")],
    "refusal": [START, chunk({"refusal": "I will not."}), STOP],
    "reasoning": [START, chunk({"reasoning_content": "Hm"}), HI, STOP],
    "reasoning-alone": [START, chunk({"reasoning": "Hm"}), chunk(None, "length")],
    # Choices and ends.
    "no-delta": [START, HI, bare({"index": 0, "finish_reason": "stop"})],
    "delta-null": [START, HI, bare({"index": 0, "delta": None, "finish_reason": "stop"})],
    "no-finish-yet": [START, bare({"index": 0, "delta": {"content": "Hi"}}), STOP],
    "no-index": [START, bare({"delta": {"content": "Hi"}}), STOP],
    "finish-twice": [START, HI, STOP, STOP],
    "empty-after-finish": [START, HI, STOP, chunk({"content": ""})],
    "finish-eos": [START, HI, chunk(None, "eos")],
    "finish-capital": [START, HI, chunk(None, "STOP")],
    "finish-max-tokens": [START, HI, chunk(None, "MAX_TOKENS")],
    "finish-safety": [START, HI, chunk(None, "SAFETY")],
    "finish-made-up": [START, HI, chunk(None, "because")],
    "logprobs-empty": [START, chunk({"content": "Hi"}, choice={"logprobs": {"content": []}}), STOP],
    # Envelopes and usage.
    "filters-first": [chunk(choices=[], prompt_filter_results=[]), START, HI, STOP],
    "id-changes": [START, chunk({"content": "Hi"}, id="d", created=2), STOP],
    "id-null": [chunk({"role": "assistant"}, id=None, created=None, object=None), HI, STOP],
    "created-fraction": [START | {"created": 1.5}, HI | {"created": 1.5}, STOP | {"created": 1.5}],
    "tier-unknown": [START | {"service_tier": "standard"}, HI, STOP],
    "usage-early": [START | {"usage": None}, HI | {"usage": USAGE}, STOP | {"usage": USAGE}],
    "usage-half": [START, HI, STOP, chunk(choices=[], usage={"prompt_tokens": 1})],
    "usage-and-more": [
        START,
        HI,
        STOP,
        chunk(choices=[], usage={**USAGE, "cost": 1, "prompt_tokens_details": None}),
    ],
}


def whole_of(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """The same answer as such a server gives it whole."""
    out: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant", "content": None}
    finish = None
    for said in chunks:
        out |= {name: value for name, value in said.items() if name != "choices"}
        for choice in said["choices"]:
            finish = choice.get("finish_reason") or finish
            for name, value in (choice.get("delta") or {}).items():
                if isinstance(value, str) and name != "role":
                    message[name] = (message[name] if isinstance(message.get(name), str) else "") + value
                elif isinstance(value, list) and name == "tool_calls":
                    message[name] = _joined([*message.get(name, []), *value])
                elif value is not None and name != "role":
                    message[name] = value
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return {**out, "object": "chat.completion", "choices": choices}


def _joined(calls: Sequence[Chunk]) -> list[Chunk]:
    """Pieces of calls by their index; those without one are whole."""
    found: list[Chunk] = []
    for call in calls:
        same = [each for each in found if "index" in call and each.get("index") == call["index"]]
        if not same or call.get("id") not in (None, "", same[0].get("id")):
            found.append(json.loads(json.dumps(call)))
        elif isinstance(more := call["function"].get("arguments"), str):
            function = same[0]["function"]
            function["arguments"] = (function.get("arguments") or "") + more
    return found


@contextmanager
def run_shaped_server() -> Iterator[str]:
    """A server that answers in the form which a mark in the question names; yields its endpoint."""

    async def answer(request: Request) -> Response:
        body = await request.json()
        found = MARK.search(str(body))
        chunks = SHAPES[found[1]] if found else [chunk({"role": "assistant", "content": "Hi"}, "stop")]
        if not body.get("stream"):
            return JSONResponse(whole_of(chunks))
        events = [json.dumps(each) for each in chunks] + ["[DONE]"]
        stream = "".join(f"data: {event}\n\n" for event in events)
        return Response(stream, media_type="text/event-stream")

    models = Route("/v1/models", lambda request: JSONResponse({"data": []}))
    answers = Route("/v1/chat/completions", answer, methods=["POST"])
    with serve_in_thread(Starlette(routes=[models, answers])) as port:
        yield f"http://127.0.0.1:{port}/v1"
