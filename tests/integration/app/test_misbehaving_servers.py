"""Servers as they are: what a client sees of each fault that the fake expert can play.

Three outcomes: the whole answer of the expert that was chosen; the answer of the next expert, where nothing
had been said yet; an error in the stream, never an end that the server did not send. A pinned expert is not
replaced: then the error has a status and a code that say what happened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from experts.fake import FAULTS, Behaviour
from tests.contracts.contract_world import Service, serve
from tests.integration.app.world import CODE, EXPERTS, events_of

SAID = "one two three four five six"
"""What every expert says, with its name in front."""

WHOLE = {
    "choices-null",
    "choices-missing",
    "data-null",
    "data-empty",
    "no-data",
    "ping",
    "ping-first",
    "comments",
    "foreign-event",
    "crlf",
    "cr",
    "bom",
    "no-done",
    "no-blank-line",
    "choices-end-apart",
    "usage-in-choice",
    "no-envelope",
    "gzip",
    "deflate",
}
"""Nobody notices."""
BROKEN = {
    "cut",
    "cut-in-event",
    "cut-empty-reason",
    "error-late",
    "error-late-string",
    "error-late-event",
    "error-late-reason",
    "html-late",
}
"""Streams alone: the answer has begun, and comes to no end."""
REFUSED: dict[str, tuple[int, str]] = {
    "error-string": (503, "expert_unavailable"),
    "error-object": (429, "expert_busy"),
    "error-list": (429, "expert_busy"),
    "html": (502, "expert_bad_reply"),
    "empty": (502, "expert_bad_reply"),
    "empty-object": (502, "expert_bad_reply"),
    "half": (502, "expert_bad_reply"),
    "no-choices": (502, "expert_bad_reply"),
    "null": (502, "expert_bad_reply"),
    "302": (502, "expert_bad_reply"),
    "400-html": (502, "expert_bad_reply"),
    "400-loading": (503, "expert_unavailable"),
    "400-no-credit": (503, "expert_unavailable"),
    "402": (503, "expert_unavailable"),
    "409": (503, "expert_unavailable"),
    "425": (503, "expert_unavailable"),
    "429": (429, "expert_busy"),
    "429-date": (429, "expert_busy"),
    "429-ms": (429, "expert_busy"),
    "500-string": (503, "expert_unavailable"),
    "503": (503, "expert_unavailable"),
    "503-loading": (503, "expert_unavailable"),
    "gzip-bomb": (502, "expert_bad_reply"),
    "gzip-broken": (502, "expert_bad_reply"),
}
"""Nothing was said yet, streamed or not: status and code of the error where nobody else may answer."""
REFUSED_STREAMS: dict[str, tuple[int, str]] = {
    "error-first": (503, "expert_unavailable"),
    "error-after-role": (429, "expert_busy"),
    "error-after-200": (429, "expert_busy"),
    "error-event-first": (503, "expert_unavailable"),
    "done-alone": (502, "expert_bad_reply"),
}
ROOMIER = {"400-too-long", "413"}
"""The next expert answers if it has more room."""
FINAL: dict[str, int] = {"400": 400, "422": 422}
"""The request itself is at fault: no other expert is asked."""
SEVERAL = {"choice-lost"}
"""Takes two choices."""
DELIVERY = {"whole-to-stream", "stream-to-whole"}


ASKED: dict[str, dict[str, Any]] = {
    "responses": {"input": CODE},
    "messages": {"messages": [{"role": "user", "content": CODE}], "max_tokens": 100},
    "completions": {"prompt": CODE},
}
"""The question in each of the other dialects."""
ENDS = {"responses": "response.completed", "messages": "message_stop", "completions": "[DONE]"}


class Stage:
    """A running service, and what each of its experts does."""

    def __init__(self, service: Service, ways: dict[str, Behaviour]) -> None:
        self.service = service
        self._ways = ways

    def play(self, expert: str, case: str) -> None:
        self._ways[expert] = Behaviour(reply=f"{expert}: {SAID}", case=case)

    def reset(self) -> None:
        self._ways.clear()
        self._ways |= {name: Behaviour(reply=f"{name}: {SAID}", confidence=0.95) for name in EXPERTS}
        for name in EXPERTS:
            self.service.services.health.report_success(name)

    def ask(self, *, stream: bool, **fields: Any) -> httpx2.Response:
        messages = [{"role": "user", "content": CODE}]
        body = {"model": "coterie", "messages": messages, "stream": stream, **fields}
        return self.service.http.post("/v1/chat/completions", json=body)


@contextmanager
def staged(folder: Path, **fields: Any) -> Iterator[Stage]:
    ways: dict[str, Behaviour] = {}
    with serve(folder, lambda body: ways[body["model"]], **fields) as service:
        yield Stage(service, ways)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("service")) as stage:
        yield stage


@pytest.fixture(scope="module")
def running_natively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("native"), dialects=list(ASKED)) as stage:
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    """With experts that are sound and known to be."""
    running.reset()
    return running


@pytest.fixture
def native(running_natively: Stage) -> Stage:
    """With experts whose servers speak every dialect."""
    running_natively.reset()
    return running_natively


def text_of(response: httpx2.Response) -> str:
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    chunks = [each for each in events_of(response.text) if isinstance(each, dict) and "choices" in each]
    return "".join(choice["delta"].get("content") or "" for each in chunks for choice in each["choices"])


def assert_whole(response: httpx2.Response, expert: str) -> None:
    """The client has the whole answer of `expert`, in a form that every client reads."""
    assert response.status_code == 200, response.text
    assert text_of(response) == f"{expert}: {SAID}"
    assert response.headers["x-coterie-expert"] == expert
    if response.headers["content-type"].startswith("text/event-stream"):
        events = events_of(response.text)
        assert events[-1] == "[DONE]"
        assert all(each["choices"] for each in events[:-1])
        assert {each["model"] for each in events[:-1]} == {expert}
        assert "\r" not in response.text
    else:
        assert response.json()["model"] == expert


def test_the_table_holds_every_fault() -> None:
    told = [WHOLE, BROKEN, REFUSED, REFUSED_STREAMS, ROOMIER, FINAL, SEVERAL, DELIVERY]
    assert sorted(name for each in told for name in each) == sorted(FAULTS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", sorted(WHOLE))
def test_a_strange_answer_that_is_whole_arrives_whole(stage: Stage, case: str, stream: bool) -> None:
    stage.play("coder", case)
    assert_whole(stage.ask(stream=stream), "coder")


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_an_answer_that_breaks_ends_in_an_error_and_not_as_if_it_were_whole(stage: Stage, case: str) -> None:
    stage.play("coder", case)
    response = stage.ask(stream=True)
    assert response.status_code == 200
    events = events_of(response.text)
    assert "[DONE]" not in events
    assert events[-1]["error"]["code"] == "expert_bad_reply"
    assert text_of(response).startswith("coder: one")
    decision = stage.service.http.get(f"/v1/decisions/{events[0]['routing']['id']}").json()
    assert (decision["status"], decision["error_code"]) == ("error", "expert_bad_reply")


@pytest.mark.parametrize("case", ["choices-end-apart", "choice-lost"])
def test_several_choices_end_apart_and_all_of_them_must(stage: Stage, case: str) -> None:
    stage.play("coder", case)
    events = events_of(stage.ask(stream=True, n=2).text)
    chunks = [each for each in events if isinstance(each, dict) and "choices" in each]
    ended = {c["index"] for each in chunks for c in each["choices"] if c["finish_reason"]}
    if case == "choice-lost":
        assert ended <= {0}
        assert events[-1]["error"]["code"] == "expert_bad_reply"
        assert "[DONE]" not in events
    else:
        assert ended == {0, 1}
        assert events[-1] == "[DONE]"


ALL_REFUSED = [(case, stream) for case in sorted(REFUSED) for stream in (False, True)] + [
    (case, True) for case in sorted(REFUSED_STREAMS)
]


@pytest.mark.parametrize(("case", "stream"), ALL_REFUSED)
def test_what_fails_before_the_first_text_gives_way_to_the_next_expert(
    stage: Stage, case: str, stream: bool
) -> None:
    stage.play("coder", case)
    response = stage.ask(stream=stream)
    assert_whole(response, "backup")
    assert response.headers["x-coterie-reason"] == "spilled"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", sorted(ROOMIER))
def test_what_is_too_long_for_one_expert_goes_to_the_next(stage: Stage, case: str, stream: bool) -> None:
    stage.play("coder", case)
    response = stage.ask(stream=stream)
    assert_whole(response, "backup")
    assert response.headers["x-coterie-reason"] == "filtered"
    pinned = stage.ask(stream=stream, model="coder")
    assert (pinned.status_code, pinned.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(("case", "stream"), ALL_REFUSED)
def test_a_pinned_expert_is_not_replaced_and_the_error_says_what_happened(
    stage: Stage, case: str, stream: bool
) -> None:
    stage.play("coder", case)
    response = stage.ask(stream=stream, model="coder")
    status, code = (REFUSED | REFUSED_STREAMS)[case]
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("case", "waits"),
    [
        ("429", "30"),
        ("429-date", "30"),
        ("429-ms", "30"),
        ("503", "30"),
        ("503-loading", "20"),
        ("409", None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_passed_on(
    stage: Stage, case: str, waits: str | None, stream: bool
) -> None:
    stage.play("coder", case)
    assert stage.ask(stream=stream, model="coder").headers.get("retry-after") == waits


def test_a_server_that_asked_to_wait_is_not_asked_while_another_can_answer(stage: Stage) -> None:
    stage.play("coder", "429")
    started = stage.service.fakes["coder"].log.started
    for _ in range(3):
        assert_whole(stage.ask(stream=False), "backup")
    assert stage.service.fakes["coder"].log.started == started + 1
    routing = stage.ask(stream=False).json()["routing"]
    assert "asked to wait" in routing["detail"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", sorted(FINAL))
def test_a_request_that_is_wrong_is_refused_by_the_first_expert(
    stage: Stage, case: str, stream: bool
) -> None:
    stage.play("coder", case)
    response = stage.ask(stream=stream)
    assert response.status_code == FINAL[case]
    error = response.json()["error"]
    assert error["code"] == "expert_rejected"
    assert "top_k" in error["message"]
    assert response.headers["x-coterie-expert"] == "coder"


@pytest.mark.parametrize("pinned", [False, True], ids=["routed", "pinned"])
def test_a_whole_answer_to_a_stream_is_taken_where_nobody_else_answers(stage: Stage, pinned: bool) -> None:
    stage.play("coder", "whole-to-stream")
    response = stage.ask(stream=True, model="coder" if pinned else "coterie")
    assert_whole(response, "coder" if pinned else "backup")


def test_a_whole_answer_to_a_stream_is_taken_where_the_others_fail(stage: Stage) -> None:
    stage.play("coder", "whole-to-stream")
    for expert in EXPERTS.keys() - {"coder"}:
        stage.play(expert, "402")
    response = stage.ask(stream=True)
    assert_whole(response, "coder")
    assert response.headers["x-coterie-reason"] == "matched"


def test_a_stream_in_place_of_a_whole_answer_gives_way(stage: Stage) -> None:
    stage.play("coder", "stream-to-whole")
    assert_whole(stage.ask(stream=False), "backup")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", sorted(FAULTS))
def test_a_strategy_survives_every_fault(stage: Stage, case: str, stream: bool) -> None:
    """The strong expert of a cascade misbehaves, whose reply is passed on as it comes: it arrives whole, or
    the weak answer stands; what breaks after a client has seen the begin ends in an error."""
    stage.play("coder", case)
    routing = {"strategy": "cascade", "options": {"threshold": 1}}
    response = stage.ask(stream=stream, routing=routing)
    fails = {*REFUSED, *ROOMIER, *FINAL, *(REFUSED_STREAMS if stream else ["stream-to-whole"])}
    if case in BROKEN and stream:
        events = events_of(response.text)
        assert events[-1]["error"]["code"] == "expert_bad_reply"
        assert "[DONE]" not in events
    else:
        assert_whole(response, "backup" if case in fails else "coder")


def text_in(dialect: str, document: dict[str, Any]) -> str:
    """The text of a whole answer or of one event."""
    match dialect:
        case "responses":
            items = [part for item in document.get("output", []) for part in item.get("content", [])]
            told = document if document.get("type") == "response.output_text.delta" else {}
            return "".join(part.get("text", "") for part in items) + str(told.get("delta", ""))
        case "messages":
            told = document.get("delta") or {}
            content = document.get("content", [])
            return "".join(block.get("text", "") for block in content) + str(told.get("text", ""))
        case _:
            return "".join(choice["text"] for choice in document.get("choices", []))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", sorted(ASKED))
@pytest.mark.parametrize("case", sorted(FAULTS))
def test_an_answer_passed_on_in_its_own_dialect_is_whole_or_an_error(
    native: Stage, dialect: str, case: str, stream: bool
) -> None:
    native.play("coder", case)
    body = {"model": "coterie", "stream": stream, **ASKED[dialect]}
    response = native.service.http.post(f"/v1/{dialect}", json=body)
    if case in FINAL:
        assert response.status_code == FINAL[case]
        return
    assert response.status_code == 200, response.text
    said = f"{response.headers['x-coterie-expert']}: {SAID}"
    if not stream:
        assert text_in(dialect, response.json()) == said
        return
    events = events_of(response.text)
    text = "".join(text_in(dialect, each) for each in events if isinstance(each, dict))
    kinds = [each if isinstance(each, str) else each.get("type", "chunk") for each in events]
    if ENDS[dialect] in kinds:
        assert (kinds[-1], text) == (ENDS[dialect], said)
    else:
        assert "error" in str(events[-1])
        assert text
        assert said.startswith(text)
