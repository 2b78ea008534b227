"""A Coterie-like service and judges for evaluation's tests: one fake that plays all of them."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from experts.answer_store import AnswerStore
from experts.fake import serve_in_thread

EXPERTS = (
    {"name": "small", "params_b": 0.5, "active_params_b": 0.5},
    {"name": "large", "params_b": 8.0, "active_params_b": 2.0},
)
JUDGES = ({"name": "judge", "params_b": 70.0}, {"name": "second-judge", "params_b": 70.0})

Answer = Callable[[Mapping[str, Any]], str | int]
"""The text of an answer to a request's body, or a status to refuse it with."""


def fill_up(answers: Path) -> None:
    """Make a store of answers that nothing more can be added to, as on a full disk."""
    with AnswerStore(answers):
        pass
    with contextlib.closing(sqlite3.connect(answers)) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers "
            "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        )


@dataclass(slots=True)
class World:
    """The service. `composition` may be changed while it runs; `bodies` are the chat requests it got."""

    api: str = ""
    composition: str = "c0mp0s1t10n"
    canary: dict[str, Any] | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, model: str) -> list[dict[str, Any]]:
        """The requests for `model`."""
        return [body for body in self.bodies if body["model"] == model]


@contextlib.contextmanager
def serving(answer: Answer, *, names: Sequence[Mapping[str, Any]] = (*EXPERTS, *JUDGES)) -> Iterator[World]:
    """Serve experts, judges and `coterie`, which sends even-length prompts to `small`, others to `large`."""
    world = World()

    async def chat(request: Request) -> Response:
        body = json.loads(await request.body())
        world.bodies.append(body)
        said = answer(body)
        if isinstance(said, int):
            return JSONResponse({"error": {"code": "refused", "message": "no"}}, status_code=said)
        document: dict[str, Any] = {
            "choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": len(said.split())},
        }
        if body["model"] == "coterie":
            chosen = "small" if len(body["messages"][-1]["content"]) % 2 == 0 else "large"
            document["routing"] = {
                "expert": chosen,
                "category": "math",
                "reason": "matched",
                "composition": world.composition,
            }
        return JSONResponse(document)

    def experts(request: Request) -> Response:
        return JSONResponse({"data": [dict(each) for each in names]})

    def composition(request: Request) -> Response:
        policy = {"active_weight": 0.0}
        return JSONResponse({"digest": world.composition, "policy": policy, "canary": world.canary})

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/experts", experts),
            Route("/v1/composition", composition),
        ]
    )
    with serve_in_thread(app) as port:
        world.api = f"http://127.0.0.1:{port}/v1"
        yield world


def prompt_of(body: Mapping[str, Any]) -> str:
    """What was said last."""
    return str(body["messages"][-1]["content"])


def verdict_of(body: Mapping[str, Any], value: str | int) -> str:
    """`value` as a judge writes it that is held to a schema."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    name = "rating" if "rating" in properties else "verdict"
    return json.dumps({"explanation": "because", name: value})
