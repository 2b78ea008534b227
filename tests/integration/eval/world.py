"""A service with several experts for tests: the fake expert behind a listing of experts."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from experts.fake import Behaviour, Log, create_fake_expert, serve_in_thread

EXPERTS = (
    {"name": "small", "params_b": 0.135, "active_params_b": 0.135, "price": {"input": 0.0, "output": 0.0}},
    {"name": "large", "params_b": 8.0, "active_params_b": 2.0, "price": {"input": 0.2, "output": 0.6}},
)


@dataclass(frozen=True, slots=True)
class World:
    """`api` is the base URL; `log` is what the experts received."""

    api: str
    log: Log

    def asked(self, expert: str) -> list[str]:
        """The prompts that `expert` received, in their order."""
        return [body["messages"][-1]["content"] for body in self.log.bodies if body["model"] == expert]


@contextlib.contextmanager
def running(choose: Any = None, *, experts: Sequence[Mapping[str, Any]] = EXPERTS) -> Iterator[World]:
    """Serve `experts`, all answered by one fake that `choose` tells how by the request's body."""
    fake = create_fake_expert(choose or Behaviour(reply="4"))

    def list_experts(request: Request) -> Response:
        health = {"state": "up", "detail": ""}
        return JSONResponse({"object": "list", "data": [{**each, "health": health} for each in experts]})

    app = Starlette(routes=[Route("/v1/experts", list_experts), Mount("/", fake)])
    with serve_in_thread(app) as port:
        yield World(f"http://127.0.0.1:{port}/v1", fake.state.log)
