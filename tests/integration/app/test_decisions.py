"""Decisions and feedback over the API: complete, in order, and still there after a restart."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from experts.fake import RunningFake, serve_in_thread
from tests.integration.app.world import CODE, TALK, Api, World, small_world


async def test_a_decision_can_be_read_as_soon_as_its_answer_is_there(api: Api) -> None:
    for stream in (False, True):
        response = await api.chat(CODE, stream=stream)
        decision = await api.decision(response.headers["x-coterie-decision"])
        assert (decision["status"], decision["http_status"], decision["stream"]) == ("ok", 200, stream)
        assert decision["model"] == "coterie"
        assert 0 < decision["first_byte_ms"] <= decision["latency_ms"]


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_counted_whether_or_not_the_client_asks(api: Api, stream: bool) -> None:
    response = await api.chat(CODE, stream=stream)
    decision = await api.decision(response.headers["x-coterie-decision"])
    words = len(CODE.split())
    counts = {"prompt_tokens": words + 1, "completion_tokens": words + 2}
    assert decision["usage"] == {**counts, "total_tokens": 2 * words + 3}
    metrics = (await api.http.get("/metrics")).text
    for kind in ("prompt", "completion"):
        assert f'coterie_tokens_total{{expert="coder",kind="{kind}"}} {counts[f"{kind}_tokens"]}.0' in metrics


HOSTILE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": "x"},
    "completion_tokens_details": {"reasoning_tokens": 3},
    "calls": [{"expert": f"made up {number}", "prompt_tokens": 1} for number in range(3)],
}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_expert_says_of_its_usage_names_nobody(world: World, stream: bool) -> None:
    """Labels of metrics are our experts' names, and a decision holds counts."""

    async def answer(request: Request) -> Response:
        said = {"role": "assistant", "content": "Hi"}
        choice = {"index": 0, "message": said, "delta": said, "finish_reason": "stop"}
        document = {"id": "c", "choices": [choice], "usage": HOSTILE}
        if not (await request.json()).get("stream"):
            return JSONResponse(document)
        return Response(f"data: {json.dumps(document)}\n\ndata: [DONE]\n\n", media_type="text/event-stream")

    models = Route("/v1/models", lambda request: JSONResponse({"data": []}))
    answers = Route("/v1/chat/completions", answer, methods=["POST"])
    with serve_in_thread(Starlette(routes=[models, answers])) as port:
        world.endpoints["coder"] = f"http://127.0.0.1:{port}/v1"
        async with world.serve() as api:
            response = await api.chat(CODE, stream=stream)
            usage = (await api.decision(response.headers["x-coterie-decision"]))["usage"]
            metrics = (await api.http.get("/metrics")).text
    assert usage == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    counted = {line for line in metrics.splitlines() if line.startswith("coterie_tokens_total{")}
    kinds = {"prompt": 7, "completion": 5, "cached": 4, "reasoning": 3}
    assert counted == {
        f'coterie_tokens_total{{expert="coder",kind="{kind}"}} {count}.0' for kind, count in kinds.items()
    }


async def test_the_stored_decision_says_what_the_answer_said(api: Api) -> None:
    routing = (await api.chat(CODE)).json()["routing"]
    decision = await api.decision(routing["id"])
    assert {name: decision[name] for name in routing} == routing


async def test_nothing_is_lost_when_the_service_stops(
    tmp_path: Path, fakes: Mapping[str, RunningFake], database_url: str
) -> None:
    from app.storage.database import Database
    from app.storage.schema import upgrade

    database = Database(database_url)
    await upgrade(database)
    await database.close()
    world = small_world(tmp_path, fakes, database_url)
    async with world.serve(record_queue=5, record_batch=3) as api:
        answers = await asyncio.gather(*(api.chat((CODE, TALK)[n % 2]) for n in range(60)))
        ids = [answer.json()["routing"]["id"] for answer in answers]
        feedback = await asyncio.gather(
            *(api.http.post("/v1/feedback", json={"decision_id": each, "rating": 1}) for each in ids)
        )
        assert {response.status_code for response in feedback} == {201}
    async with world.serve() as api:
        listed = (await api.http.get("/v1/decisions?limit=200")).json()
        assert {row["id"] for row in listed["data"]} == set(ids)
        assert [len(row["feedback"]) for row in listed["data"]] == [1] * 60
        assert not listed["has_more"]


async def test_a_locked_database_stops_nobody_and_loses_nothing(world: World) -> None:
    async with world.serve() as api:
        await api.chat(CODE)
        assert await api.services.recorder.written(5)
        path = world.folder / "var" / "coterie.db"
        blocker = sqlite3.connect(path, isolation_level=None)
        # What waits is in memory, and is shown where nothing can be read either.
        blocker.execute("ALTER TABLE feedback RENAME TO hidden")
        blocker.execute("BEGIN IMMEDIATE")
        ids = [(await api.chat(CODE)).json()["routing"]["id"] for _ in range(5)]
        assert (await api.decision(ids[0]))["status"] == "ok"
        given = await api.http.post("/v1/feedback", json={"decision_id": ids[0], "rating": 1})
        assert given.status_code == 201
        blocker.execute("ROLLBACK")
        blocker.execute("ALTER TABLE hidden RENAME TO feedback")
        blocker.close()
    async with world.serve() as api:
        for each in ids:
            assert (await api.decision(each))["status"] == "ok"
        assert len((await api.decision(ids[0]))["feedback"]) == 1


async def test_the_list_has_pages_and_filters(api: Api) -> None:
    ids = [(await api.chat((CODE, TALK)[n % 2])).json()["routing"]["id"] for n in range(5)]
    first = (await api.http.get("/v1/decisions?limit=3")).json()
    assert [row["id"] for row in first["data"]] == ids[:1:-1]
    assert first["has_more"]
    rest = (await api.http.get("/v1/decisions", params={"limit": 3, "after": first["next_cursor"]})).json()
    assert [row["id"] for row in rest["data"]] == ids[1::-1]
    assert rest["next_cursor"] is None
    coding = (await api.http.get("/v1/decisions?category=coding&expert=coder&reason=matched")).json()
    assert [row["id"] for row in coding["data"]] == ids[::-2]


async def test_feedback_belongs_to_its_decision(api: Api) -> None:
    decision = (await api.chat()).json()["routing"]["id"]
    for body in ({"rating": -1}, {"score": 0.75, "comment": "half right\0"}):
        response = await api.http.post("/v1/feedback", json={"decision_id": decision, **body})
        assert response.status_code == 201
    found = (await api.decision(decision))["feedback"]
    assert [(each["rating"], each["score"], each["comment"]) for each in found] == [
        (-1, None, None),
        (None, 0.75, "half right"),
    ]


async def test_feedback_is_taken_while_the_answer_still_streams(api: Api) -> None:
    body = {
        "model": "coder",
        "messages": [{"role": "user", "content": CODE}],
        "stream": True,
        "fake": {"token_delay_s": 0.02},
    }
    async with api.http.stream("POST", "/v1/chat/completions", json=body) as response:
        decision = response.headers["x-coterie-decision"]
        given = await api.http.post("/v1/feedback", json={"decision_id": decision, "rating": 1})
        assert given.status_code == 201
        await response.aread()
    assert [each["rating"] for each in (await api.decision(decision))["feedback"]] == [1]


async def test_feedback_has_to_say_something_about_a_decision_that_exists(api: Api) -> None:
    unknown = await api.http.post("/v1/feedback", json={"decision_id": "dec_x", "rating": 1})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "decision_not_found")
    decision = (await api.chat()).json()["routing"]["id"]
    for body in ({}, {"rating": 1, "score": 1.0}, {"rating": 2}, {"score": 1.5}, {"rating": 1, "x": 1}):
        response = await api.http.post("/v1/feedback", json={"decision_id": decision, **body})
        assert response.status_code == 400
    assert (await api.http.get("/v1/decisions/dec_x")).status_code == 404


async def test_prompts_are_stored_only_when_the_operator_says_so(world: World) -> None:
    async with world.serve() as api:
        silent = (await api.chat(CODE)).json()["routing"]["id"]
        assert not {"messages", "answer"} & (await api.decision(silent)).keys()
    async with world.serve(store_prompts=True) as api:
        kept = (await api.chat(CODE)).json()["routing"]["id"]
        assert (await api.decision(kept))["messages"] == [{"role": "user", "content": CODE}]
        assert "messages" not in await api.decision(silent)
    database = (world.folder / "var" / "coterie.db").read_bytes()
    # Once as the request's message, and once in the answer of the fake expert, which repeats it.
    assert database.count(CODE.encode()) == 2
