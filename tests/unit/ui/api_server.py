"""A stand-in for the API on loopback: answers as the contract says, and fails on demand.

The question decides: a message that starts with `!` names what shall go wrong. What was received is
kept in `log`. The end-to-end test uses the real API; this one is for the console's own tests.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from experts.fake import serve_in_thread

EXPERTS = {"small": 0.135, "coder": 1.5, "writer": 1.5}
CATEGORIES = {"coding": "Coding", "math": "Mathematics", "smalltalk": "Small talk"}
MAP = {"coding": "coder", "math": "coder", "smalltalk": "small"}
UTILITIES = {
    "coding": {"small": 0.11, "coder": 0.71, "writer": 0.52},
    "math": {"small": 0.18, "coder": 0.63, "writer": 0.6},
    "smalltalk": {"small": 0.83, "coder": 0.84, "writer": 0.9},
}
ANSWER = "Here is **an answer** in several pieces, with `code` and a price of $5."


@dataclass
class Log:
    """What the stand-in has seen."""

    chats: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    queries: list[dict[str, str]] = field(default_factory=list)
    given_up: int = 0


def decide(question: str, model: str, number: int) -> dict[str, Any]:
    """A decision document such as the API's."""
    category = "smalltalk" if question.lower().startswith(("hi", "hello")) else "coding"
    expert, reason = MAP[category], "matched"
    if model in EXPERTS:
        expert, reason = model, "pinned"
    elif model.startswith("coterie/"):
        category = model.removeprefix("coterie/")
        expert, reason = MAP[category], "pinned"
    ranking = [
        {
            "expert": name,
            "utility": utility,
            "correction": 0.02 if name == "coder" else 0.0,
            "value": utility - 0.04 * EXPERTS[name] + (0.02 if name == "coder" else 0.0),
            "active_params_b": EXPERTS[name],
            "cost": None,
            "compute": 100 * EXPERTS[name],
            "excluded": "cannot use tools" if name == "writer" else None,
        }
        for name, utility in sorted(
            UTILITIES[category].items(), key=lambda item: (item[0] == "writer", item[0] != expert)
        )
    ]
    pinned = reason == "pinned"
    return {
        "id": f"dec_{number:04d}",
        "composition": "0123456789abcdef",
        "classification": "skipped" if pinned else "classified",
        "category": None if model in EXPERTS else category,
        "probability": None if pinned else 0.93,
        "runners_up": [] if pinned else [{"category": "math", "probability": 0.04}],
        "ood_score": None if pinned else 0.12,
        "ranking": ranking,
        "expert": expert,
        "strategy": "single",
        "reason": reason,
        "detail": f"{expert} answers for a good reason.",
        "spilled_from": None,
        "alternative": "writer",
        "expected_cost": None,
        "expected_compute": 100 * EXPERTS[expert],
        "alternative_cost": None,
        "alternative_compute": 100 * EXPERTS["writer"],
    }


def create_api() -> FastAPI:
    """The stand-in; `app.state.log` is its Log."""
    app = FastAPI()
    log: Log = Log()
    app.state.log = log

    @app.get("/v1/experts")
    async def experts(request: Request) -> dict[str, Any]:
        log.keys.add(request.headers.get("authorization", ""))
        return {
            "object": "list",
            "data": [
                {
                    "name": name,
                    "params_b": size,
                    "active_params_b": size,
                    "context_length": 4096,
                    "capabilities": ["json_schema"],
                    "price": {"input": 0, "output": 0},
                    "description": f"The {name} expert.",
                    "base": None,
                    "health": {
                        "state": "down" if name == "writer" else "up",
                        "detail": "connection refused" if name == "writer" else None,
                    },
                }
                for name, size in EXPERTS.items()
            ],
        }

    @app.get("/v1/composition")
    async def composition() -> dict[str, Any]:
        return {
            "digest": "0123456789abcdef",
            "categories": [{"name": name, "title": title} for name, title in CATEGORIES.items()],
            "experts": [{"name": name} for name in EXPERTS],
            "map": MAP,
            "utilities": UTILITIES,
            "policy": {"strategy": "single", "threshold": 0.35, "generalist": "coder"},
            "manifest": {"encoder": {"name": "all-MiniLM-L6-v2"}, "metrics": {"accuracy": 0.9123}},
        }

    _add_decisions(app, log)

    @app.post("/v1/feedback", status_code=201)
    async def feedback(request: Request) -> Response:
        body = await request.json()
        if body.get("comment") == "!refuse":
            return _error(404, "decision_not_found", "There is no such decision.")
        log.feedback.append(body)
        return JSONResponse({"object": "feedback", **body}, 201)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        log.chats.append(body)
        question = body["messages"][-1]["content"]
        if question.startswith("!refuse"):
            return _error(400, "context_length_exceeded", "The request is longer than any expert takes.")
        if question.startswith("!proxy"):
            return Response("<html>Bad gateway</html>", 502, media_type="text/html")
        if question.startswith("!json"):
            return JSONResponse({"choices": []})
        decision = decide(question, body["model"], len(log.decisions) + 1)
        log.decisions.append(
            {
                **decision,
                "created_at": "2026-11-21T12:00:00+00:00",
                "request_id": f"req-{len(log.decisions)}",
                "model": body["model"],
                "stream": True,
                "status": "completed",
                "latency_ms": 1234.5,
                "first_byte_ms": 56.7,
                "usage": {"prompt_tokens": 9, "completion_tokens": 12},
                "cost": None,
                "compute": 21 * EXPERTS[decision["expert"]],
                "error_code": None,
                "feedback": [],
            }
        )
        return StreamingResponse(_stream(question, decision, log), media_type="text/event-stream")

    return app


def _add_decisions(app: FastAPI, log: Log) -> None:
    @app.get("/v1/decisions")
    async def decisions(request: Request) -> dict[str, Any]:
        query = dict(request.query_params)
        log.queries.append(query)
        wanted = {key: value for key, value in query.items() if key not in {"limit", "after"}}
        found = [row for row in log.decisions if all(row[key] == value for key, value in wanted.items())]
        start = int(query.get("after", 0))
        end = start + int(query.get("limit", 50))
        following = str(end) if end < len(found) else None
        return {"object": "list", "data": found[::-1][start:end], "next_cursor": following}

    @app.get("/v1/decisions/{decision_id}")
    async def decision(decision_id: str) -> Response:
        found = [row for row in log.decisions if row["id"] == decision_id]
        if not found:
            return _error(404, "decision_not_found", "There is no such decision.")
        return JSONResponse(found[0])


def _error(status: int, code: str, message: str) -> JSONResponse:
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": body}, status)


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish}]}


async def _stream(question: str, decision: dict[str, Any], log: Log) -> AsyncIterator[bytes]:
    try:
        yield _event({**_chunk(""), "routing": decision})
        pieces = [piece + " " for piece in ANSWER.split(" ")]
        if question.startswith("!slow"):
            pieces *= 100
        for place, piece in enumerate(pieces):
            if place == 4 and question.startswith("!rubbish"):
                yield b"data: {rubbish\n\n"
            if place == 4 and question.startswith("!broken"):
                return
            if place == 4 and question.startswith("!dies"):
                error = {"message": "The expert stopped answering.", "code": "expert_timeout"}
                yield _event({"error": error})
                return
            yield _event(_chunk(piece))
            await asyncio.sleep(0.05 if question.startswith("!slow") else 0.001)
        yield _event(_chunk(None, "length" if question.startswith("!long") else "stop"))
        yield _event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}})
        yield b"data: [DONE]\n\n"
    except asyncio.CancelledError:
        log.given_up += 1
        raise


@dataclass
class Running:
    """A stand-in that is being served."""

    url: str
    log: Log


@contextmanager
def run_api() -> Iterator[Running]:
    """Serve a stand-in on a free port of loopback."""
    app = create_api()
    with serve_in_thread(app) as port:
        yield Running(f"http://127.0.0.1:{port}", app.state.log)


if __name__ == "__main__":
    uvicorn.run(create_api(), host="127.0.0.1", port=8000, log_level="warning")
