"""Faults that real servers, and the proxies before them, have been seen with, each under a name.

A fault is a reply in an answer's place, or something done to an answer's stream or to its bytes.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice
from typing import Any

from experts.fake.wire_formats import DONE, event

Events = Iterator[bytes]

BOMB_BYTES = 64 * 2**20
"""What the fault `gzip-bomb` inflates to."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes in an answer's place."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """`description` says what it is. `reply`: in place of any answer; `events`: what becomes of a stream;
    `encoding`: of the bytes, asked for or not; `ignores_stream` answers whole, `always_streams` never."""

    description: str
    reply: Callable[[], Reply] | None = None
    events: Callable[[Events], Events] | None = None
    encoding: str | None = None
    ignores_stream: bool = False
    always_streams: bool = False


def _json_reply(status: int, document: Any, **headers: str) -> Callable[[], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: Reply(status, json.dumps(document).encode(), headers=named)


def _inserted(*extra: bytes, after: int = 2) -> Callable[[Events], Events]:
    """Further bytes after so many events: in the middle of the text."""

    def changed(events: Events) -> Events:
        yield from islice(events, after)
        yield from extra
        yield from events

    return changed


def _broken(*extra: bytes, after: int = 2) -> Callable[[Events], Events]:
    """Ends after so many events and these bytes."""

    def changed(events: Events) -> Events:
        yield from islice(events, after)
        yield from extra

    return changed


def _each(change: Callable[[bytes], bytes]) -> Callable[[Events], Events]:
    return lambda events: map(change, events)


def _documents(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Callable[[Events], Events]:
    """Every chunk of a completion made into others."""

    def changed(events: Events) -> Events:
        for each in events:
            if each == DONE or not each.startswith(b"data: "):
                yield each
            else:
                yield from map(event, change(json.loads(each.removeprefix(b"data: "))))

    return changed


def _choices_null(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk if chunk.get("choices") else {**chunk, "choices": None}]


def _choices_missing(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk if chunk.get("choices") else {k: v for k, v in chunk.items() if k != "choices"}]


def _empty_reasons(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Reasons are empty strings, and the last chunk is lost."""
    choices = [{**choice, "finish_reason": ""} for choice in chunk.get("choices") or ()]
    ends = any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
    return [] if ends or not choices else [{**chunk, "choices": choices}]


def _ends_apart(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """A chunk for each choice, so that several end one after the other."""
    return [{**chunk, "choices": [choice]} for choice in chunk.get("choices") or ()] or [chunk]


def _one_choice_lost(events: Events) -> Events:
    """The last choice never ends, and nor does the stream."""
    for each in _documents(_ends_apart)(events):
        if each.startswith(b'data: {"id'):
            choices = json.loads(each.removeprefix(b"data: "))["choices"]
            if any(choice["finish_reason"] and choice["index"] for choice in choices):
                return
        yield each


def _usage_in_choice(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Usage stands in the choice that ends, and in no chunk of its own."""
    counts = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [
        {**choice, "usage": counts} if choice.get("finish_reason") else choice
        for choice in chunk.get("choices") or ()
    ]
    return [{**chunk, "choices": choices}] if choices else []


def _lost_name(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"choices": chunk["choices"]} if "choices" in chunk else chunk]


def _without_last(many: int) -> Callable[[Events], Events]:
    return lambda events: iter(list(events)[:-many])


def _reasonless_cut(events: Events) -> Events:
    return (each for each in _documents(_empty_reasons)(events) if each != DONE)


def _in_30_s() -> Reply:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    return Reply(429, b'{"error": {"message": "slow down"}}', headers={"retry-after": date})


_OVERLOADED = {"error": "overloaded"}
_ERROR = {"error": {"message": "overloaded", "code": "429"}}
_LIST = {"detail": [{"type": "value_error", "loc": ["body", "top_k"], "msg": "Input should be positive"}]}
_PAGE = b"<html><title>Sign in</title></html>"
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_FAILS = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}

FAULTS: Mapping[str, Fault] = {
    # Streams that are whole all the same.
    "choices-null": Fault("`choices` of the usage chunk is null", events=_documents(_choices_null)),
    "choices-missing": Fault("the usage chunk has no `choices`", events=_documents(_choices_missing)),
    "data-null": Fault("an event holds null", events=_inserted(b"data: null\n\n")),
    "data-empty": Fault("an event has empty data", events=_inserted(b"data:\n\n")),
    "no-data": Fault("an event has no data", events=_inserted(b"id: 7\nretry: 1000\n\n")),
    "ping": Fault("heartbeats as events", events=_inserted(_PING)),
    "ping-first": Fault("heartbeats before the first text", events=_inserted(_PING, _PING, after=0)),
    "comments": Fault("heartbeats as comments", events=_inserted(b": waiting\n\n", b":\n\n", after=0)),
    "foreign-event": Fault(
        "an event of another kind", events=_inserted(b'event: progress\ndata: {"step": 1}\n\n')
    ),
    "crlf": Fault("lines end in CRLF", events=_each(lambda each: each.replace(b"\n", b"\r\n"))),
    "cr": Fault("lines end in CR", events=_each(lambda each: each.replace(b"\n", b"\r"))),
    "bom": Fault("a byte order mark in front", events=_inserted(b"\xef\xbb\xbf", after=0)),
    "no-done": Fault("no last event", events=_without_last(1)),
    "no-blank-line": Fault(
        "the last event has no blank line",
        events=lambda events: iter([*(every := list(events))[:-1], every[-1].rstrip()]),
    ),
    "choices-end-apart": Fault("choices end one after the other", events=_documents(_ends_apart)),
    "usage-in-choice": Fault("usage stands in the last choice", events=_documents(_usage_in_choice)),
    "no-envelope": Fault("chunks without id, object and model", events=_documents(_lost_name)),
    # Streams that break after the first text.
    "cut": Fault("the stream ends in the middle", events=_broken(after=3)),
    "cut-in-event": Fault("it ends in the middle of an event", events=_broken(b'data: {"id', after=3)),
    "choice-lost": Fault("the second choice never ends", events=_one_choice_lost),
    "cut-empty-reason": Fault("every reason is empty, then it ends", events=_reasonless_cut),
    "error-late": Fault("an error after the first text", events=_broken(event(_ERROR), DONE, after=3)),
    "error-late-string": Fault("the same as a string", events=_broken(event(_OVERLOADED), after=3)),
    "error-late-event": Fault(
        "the same as an error event", events=_broken(b"event: error\ndata: overloaded\n\n", after=3)
    ),
    "error-late-reason": Fault("a choice ends with `error`", events=_broken(event(_FAILS), DONE, after=3)),
    "html-late": Fault("a page after the first text", events=_broken(b"data: " + _PAGE + b"\n\n", after=3)),
    # Failures with status 200 before the first text.
    "error-string": Fault("an error as a string, with status 200", reply=_json_reply(200, _OVERLOADED)),
    "error-object": Fault("an error as an object, with status 200", reply=_json_reply(200, _ERROR)),
    "error-list": Fault("complaints, with status 200", reply=_json_reply(200, [_ERROR])),
    "error-first": Fault("an error as the first event", events=_broken(event(_OVERLOADED), after=0)),
    "error-after-role": Fault("an error as the second event", events=_broken(event(_ERROR), after=1)),
    "error-after-200": Fault("an error as the only event", events=_broken(event(_ERROR), DONE, after=0)),
    "error-event-first": Fault(
        "an error event first", events=_broken(b"event: error\ndata: overloaded\n\n", after=0)
    ),
    "html": Fault("a page", reply=lambda: Reply(200, _PAGE, "text/html")),
    "empty": Fault("nothing", reply=lambda: Reply(200, b"")),
    "empty-object": Fault("an empty object", reply=_json_reply(200, {})),
    "half": Fault("half a reply", reply=lambda: Reply(200, b'{"id": "c", "choices": [{"ind')),
    "no-choices": Fault("an answer without any choice", reply=_json_reply(200, {"id": "c", "choices": []})),
    "null": Fault("null", reply=_json_reply(200, None)),
    "done-alone": Fault("an end and nothing else", events=_broken(DONE, after=0)),
    "whole-to-stream": Fault("a whole answer where a stream was asked for", ignores_stream=True),
    "stream-to-whole": Fault("a stream where a whole answer was asked for", always_streams=True),
    # Failures with another status.
    "302": Fault("moved", reply=lambda: Reply(302, _PAGE, "text/html", {"location": "/login"})),
    "400": Fault("the request is wrong", reply=_json_reply(400, {"error": {"message": "bad top_k"}})),
    "400-html": Fault("a proxy's page", reply=lambda: Reply(400, _PAGE, "text/html")),
    "400-loading": Fault("loading", reply=_json_reply(400, {"error": {"message": "model is loading"}})),
    "400-no-credit": Fault(
        "no credit", reply=_json_reply(400, {"error": {"message": "Your credit balance is too low"}})
    ),
    "400-too-long": Fault(
        "too long",
        reply=_json_reply(400, {"error": {"message": "This model's maximum context length is 8 tokens."}}),
    ),
    "402": Fault("out of credit", reply=_json_reply(402, {"error": {"message": "add credit"}})),
    "409": Fault("conflict", reply=_json_reply(409, {"error": {"message": "conflict"}})),
    "413": Fault("a proxy's bound", reply=lambda: Reply(413, _PAGE, "text/html")),
    "422": Fault("complaints in a list", reply=_json_reply(422, _LIST)),
    "425": Fault("too early", reply=_json_reply(425, {"error": {"message": "too early"}})),
    "429": Fault("wait", reply=_json_reply(429, {"error": {"message": "slow down"}}, retry_after="30")),
    "429-date": Fault("wait, as a date", reply=_in_30_s),
    "429-ms": Fault(
        "wait, in milliseconds",
        reply=_json_reply(429, {"error": {"message": "slow down"}}, retry_after_ms="30000"),
    ),
    "500-string": Fault("an error as a string", reply=_json_reply(500, {"error": "boom"})),
    "503": Fault("wait", reply=_json_reply(503, {"error": {"message": "overloaded"}}, retry_after="30")),
    "503-loading": Fault("loading", reply=_json_reply(503, {"error": "loading", "estimated_time": 20.0})),
    # Bytes.
    "gzip": Fault("compressed, though nobody asked", encoding="gzip"),
    "deflate": Fault("compressed, though nobody asked", encoding="deflate"),
    "gzip-bomb": Fault(f"compressed, {BOMB_BYTES >> 20} MiB of blanks", encoding="gzip-bomb"),
    "gzip-broken": Fault("said to be compressed, and is not", encoding="gzip-broken"),
}
