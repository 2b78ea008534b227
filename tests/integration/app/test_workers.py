"""Two worker processes that serve as one: what one of them knows, the other does too, at once."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.postgres_server import Postgres
from experts.fake import RunningFake
from routers.encoder import Encoder
from tests.integration.app.test_reload import swap_experts
from tests.integration.app.workers_world import (
    QUOTA,
    Caller,
    WorkersService,
    running_workers,
    start_workers,
    workers_environment,
)
from tests.integration.app.world import CODE, TALK, UNCLEAR, events_of

TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": TOOL}]


@pytest.fixture(scope="module")
def sqlite(
    tmp_path_factory: pytest.TempPathFactory, servers: Mapping[str, RunningFake], encoder: Encoder
) -> Iterator[WorkersService]:
    with running_workers(tmp_path_factory.mktemp("workers"), servers, encoder) as service:
        yield service


@pytest.fixture(scope="module")
def postgresql(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, encoder: Encoder
) -> Iterator[WorkersService]:
    from tests.commands import coterie

    folder, servers = tmp_path_factory.mktemp("workers"), request.getfixturevalue("servers")
    server: Postgres = request.getfixturevalue("postgres")
    url = server.new_database()
    assert coterie("db", "upgrade", COTERIE_DATABASE_URL=url).code == 0
    with running_workers(folder, servers, encoder, url) as service:
        yield service


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def service(request: pytest.FixtureRequest, fakes: Mapping[str, RunningFake]) -> WorkersService:
    """With each kind of database."""
    found: WorkersService = request.getfixturevalue(request.param)
    return found


def routing(answer: httpx2.Response) -> Mapping[str, Any]:
    assert answer.status_code == 200, answer.text
    found: Mapping[str, Any] = answer.json()["routing"]
    return found


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("stream", [False, True])
def test_each_turn_of_a_conversation_may_come_to_another_worker(
    service: WorkersService, stream: bool
) -> None:
    """Nobody names it, and the next turn is there as soon as the answer is."""
    messages = [said(f"{UNCLEAR}, {'streamed' if stream else 'whole'}")]
    callers = [service.of(worker, "talks") for worker in (0, 1)]
    for turn in range(6):
        model = "coterie" if turn else "talker"
        answer = callers[turn % 2].chat(messages, model=model, stream=stream)
        assert answer.headers["x-coterie-expert"] == "talker"
        assert answer.headers["x-coterie-reason"] == ("sticky" if turn else "pinned")
        if stream:
            chunks = (each["choices"][0]["delta"] for each in events_of(answer.text)[:-1] if each["choices"])
            text = "".join(chunk.get("content") or "" for chunk in chunks)
        else:
            text = answer.json()["choices"][0]["message"]["content"]
        messages += [{"role": "assistant", "content": text}, said(f"{UNCLEAR} {turn}")]


def test_the_result_of_a_tool_call_goes_to_its_maker_from_another_worker(service: WorkersService) -> None:
    one, other = service.of(0, "talks"), service.of(1, "talks")
    for turn in range(4):
        asked = said(f"{CODE} {turn}")
        call = one.chat([asked], model="talker", tools=TOOLS).json()["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "done"}
        held = routing(other.chat([asked, call, result], tools=TOOLS))
        assert (held["expert"], held["reason"]) == ("talker", "held")


def test_a_named_conversation_is_with_whom_another_worker_gave_it_to(service: WorkersService) -> None:
    one, other = service.of(0, "talks"), service.of(1, "talks")
    for caller, model in ((one, "talker"), (other, "backup"), (one, "talker"), (other, "backup")):
        caller.chat(UNCLEAR, model=model, routing={"conversation": "named"})
        for each in (one, other):
            found = routing(each.chat(UNCLEAR, routing={"conversation": "named"}))
            assert (found["expert"], found["reason"]) == (model, "sticky")


def test_as_many_escalations_are_granted_as_there_are(service: WorkersService) -> None:
    """Both workers are asked for more than twice the quota, all at once."""
    clients = [service.of(worker, "quota") for worker in (0, 1)]
    assert len({id(each.http) for each in clients}) == 2
    # Connections of their own, to whichever worker: requests on one connection would wait for each other.
    callers = [*clients, *(Caller(service.client(), "quota") for _ in range(10))]
    with ThreadPoolExecutor(len(callers)) as pool:
        turns = [pool.submit(callers[turn % len(callers)].chat, CODE) for turn in range(3 * QUOTA)]
        reasons = [routing(turn.result())["reason"] for turn in turns]
    assert (reasons.count("matched"), reasons.count("limited")) == (QUOTA, 2 * QUOTA)
    workers = {line["worker"] for line in service.lines("escalation_limited")}
    assert workers == {0, 1}
    counted = 'coterie_escalations_total{expert="coder",result="counted"}'
    assert clients[0].metric(counted) == clients[1].metric(counted) == QUOTA


def test_a_response_can_be_continued_read_and_deleted_elsewhere(sqlite: WorkersService) -> None:
    one, other = sqlite.of(0, "responses"), sqlite.of(1, "responses")
    for turn in range(3):
        first = one.post("/v1/responses", model="talker", input=f"{TALK} {turn}").json()["id"]
        last = first
        for caller in (other, one):
            goes_on = caller.post("/v1/responses", model="talker", input="And?", previous_response_id=last)
            assert goes_on.status_code == 200, goes_on.text
            last = goes_on.json()["id"]
        assert other.get(f"/v1/responses/{last}").status_code == 200
        assert other.delete(f"/v1/responses/{first}").status_code == 200
        assert one.get(f"/v1/responses/{first}").status_code == 404
    unknown = one.post("/v1/responses", model="talker", input="So?", previous_response_id="resp_none")
    assert unknown.json()["error"]["code"] == "previous_response_not_found"


def test_a_decision_is_read_and_rated_elsewhere_as_soon_as_there_is_one(sqlite: WorkersService) -> None:
    one, other = sqlite.of(0, "reads"), sqlite.of(1, "reads")
    for _ in range(3):
        decision = one.chat(TALK).headers["x-coterie-decision"]
        assert other.get(f"/v1/decisions/{decision}").json()["status"] == "ok"
        newest = other.get("/v1/decisions?limit=1&api_key=reads").json()["data"][0]
        assert newest["id"] == decision
        decision = one.chat(TALK).headers["x-coterie-decision"]
        assert other.post("/v1/feedback", decision_id=decision, rating=1).status_code == 201
    assert other.get("/v1/decisions/dec_none").status_code == 404
    assert other.post("/v1/feedback", decision_id="dec_none", rating=1).status_code == 404


def test_an_answer_on_the_way_is_known_elsewhere(sqlite: WorkersService) -> None:
    one, other = sqlite.of(0, "reads"), sqlite.of(1, "reads")
    before = other.metric("coterie_answers_in_flight")
    with streaming(one) as (decision, finish):
        assert other.metric("coterie_answers_in_flight") == before + 1
        assert other.get(f"/v1/decisions/{decision}").json()["status"] == "running"
        assert other.post("/v1/feedback", decision_id=decision, rating=1).status_code == 201
        finish()
    found = other.get(f"/v1/decisions/{decision}").json()
    assert (found["status"], len(found["feedback"])) == ("ok", 1)
    assert other.metric("coterie_answers_in_flight") == before


def test_metrics_are_those_of_the_whole_service(sqlite: WorkersService) -> None:
    callers = [sqlite.of(worker, "reads") for worker in (0, 1)]
    line = 'coterie_http_requests_total{method="POST",route="/v1/feedback",status="404"}'
    before = callers[0].metric(line)
    for caller in (*callers, *callers):
        caller.post("/v1/feedback", decision_id="dec_none", rating=1)
    assert [caller.metric(line) for caller in callers] == [before + 4, before + 4]
    assert callers[0].metric("process_resident_memory_bytes") > 100_000_000
    assert "pid=" not in callers[0].get("/metrics").text


def test_a_reload_is_one_of_all_workers(sqlite: WorkersService) -> None:
    callers = [sqlite.of(worker, "reloads") for worker in (0, 1)]
    reloads = callers[0].metric('coterie_reloads_total{result="done"}')
    for caller in callers:
        new = swap_experts(sqlite.composition)
        done = caller.post("/v1/composition/reload").json()
        assert (done["new"], done["changed"], done["workers"]) == (new, True, 2)
        assert [each.get("/v1/composition").json()["digest"] for each in callers] == [new, new]
    assert callers[0].metric('coterie_reloads_total{result="done"}') == reloads + 2


def test_where_one_cannot_reload_none_does(sqlite: WorkersService) -> None:
    callers = [sqlite.of(worker, "reloads") for worker in (0, 1)]
    old = callers[0].get("/v1/composition").json()["digest"]
    manifest = (sqlite.composition / "composition.json").read_text()
    (sqlite.composition / "composition.json").write_text(manifest.replace('"format"', '"Format"'))
    refused = callers[1].post("/v1/composition/reload")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_composition")
    assert [each.get("/v1/composition").json()["digest"] for each in callers] == [old, old]
    (sqlite.composition / "composition.json").write_text(manifest)
    done = callers[1].post("/v1/composition/reload").json()
    assert (done["changed"], done["workers"]) == (False, 2)


def test_a_hangup_reloads_all(sqlite: WorkersService) -> None:
    callers = [sqlite.of(worker, "reloads") for worker in (0, 1)]
    done = len(sqlite.lines("reloaded"))
    new = swap_experts(sqlite.composition)
    os.kill(sqlite.process.pid, signal.SIGHUP)
    assert sqlite.until("reloaded", lambda lines: len(lines) > done)[-1]["composition"] == new
    assert [each.get("/v1/composition").json()["digest"] for each in callers] == [new, new]


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(sqlite: WorkersService) -> None:
    """The new one has what the others have, also where the folder holds another composition by now."""
    one, other = sqlite.of(0, "crash"), sqlite.of(1, "crash")
    line = 'coterie_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'
    other.chat(UNCLEAR, model="talker", routing={"conversation": "crash"})
    served = one.metric(line)
    new, pid = swap_experts(sqlite.composition), sqlite.pid(1)
    os.kill(pid, signal.SIGKILL)
    (ended,) = sqlite.until("worker_ended", bool)
    assert (ended["worker"], ended["pid"], ended["code"]) == (1, pid, -signal.SIGKILL)
    for _ in range(5):
        assert routing(one.chat(UNCLEAR, routing={"conversation": "crash"}))["reason"] == "sticky"
    other = sqlite.of(1, "crash")
    assert sqlite.pid(1) != pid
    assert [each.get("/v1/composition").json()["digest"] for each in (one, other)] == [new, new]
    assert routing(other.chat(UNCLEAR, routing={"conversation": "crash"}))["reason"] == "sticky"
    assert one.metric(line) == other.metric(line) == served + 6


def test_a_stop_finishes_the_streams_of_all_workers(sqlite: WorkersService) -> None:
    callers = [sqlite.of(worker, "stops") for worker in (0, 1)]
    with streaming(callers[0]) as (first, finish_first), streaming(callers[1]) as (second, finish_second):
        sqlite.process.send_signal(signal.SIGTERM)
        assert [finish_first()[-1], finish_second()[-1]] == ["[DONE]", "[DONE]"]
    assert sqlite.process.wait(60) == 0
    assert not list(sqlite.log.parent.glob("coterie-workers-*"))
    assert {line["worker"] for line in sqlite.lines("stopping")} >= {0, 1}
    with closing(sqlite3.connect(sqlite.composition.parent / "var" / "coterie.db")) as kept:
        rows = kept.execute("SELECT id, status FROM decisions WHERE id IN (?, ?)", [first, second]).fetchall()
    assert sorted(rows) == sorted([(first, "ok"), (second, "ok")])


@pytest.mark.postgres
def test_a_second_signal_waits_for_nobody(
    postgresql: WorkersService, fakes: Mapping[str, RunningFake]
) -> None:
    with streaming(postgresql.of(0, "stops"), words=1_000):
        for _ in range(2):
            postgresql.process.send_signal(signal.SIGTERM)
            postgresql.until("Shutting down", bool)
        assert postgresql.process.wait(30) == 0
    assert not list(postgresql.log.parent.glob("coterie-workers-*"))


def test_what_a_worker_cannot_serve_stops_the_start_with_its_reason(
    tmp_path: Path, servers: Mapping[str, RunningFake], encoder: Encoder
) -> None:
    environment, log = workers_environment(tmp_path, servers, encoder), tmp_path / "log"
    (tmp_path / "composition" / "arrays.safetensors").unlink()
    assert start_workers(environment, log).wait(60) == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("coterie: ")
    assert "arrays.safetensors" in last


@contextmanager
def streaming(caller: Caller, words: int = 30) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """An answer that is on its way for 50 ms a word: its decision, and what reads it to its end."""
    slow = {"token_delay_s": 0.05}
    with caller.stream("word " * words, fake=slow) as response:
        yield response.headers["x-coterie-decision"], lambda: events_of(response.read().decode())
