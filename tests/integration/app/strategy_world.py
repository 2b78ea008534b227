"""The service's small world with experts that behave each in its own way, for tests of strategies."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from experts.fake import Behaviour, Chooser, run_fake_expert
from tests.integration.app.world import CODE, EXPERTS, Api, World, events_of, small_world

Ways = Mapping[str, Behaviour | Chooser]


@asynccontextmanager
async def serving(folder: Path, ways: Ways | None = None, **settings: Any) -> AsyncIterator[Api]:
    """A service whose experts behave as `ways` says; `settings` are the service's."""
    with ExitStack() as stack:
        fakes = {
            name: stack.enter_context(run_fake_expert((ways or {}).get(name), name=name)) for name in EXPERTS
        }
        world: World = small_world(folder, fakes)
        async with world.serve(**settings) as api:
            # LangGraph takes a second to import, and many on a busy machine: no test's own time.
            await api.services.strategies.catalogue.ready("panel")
            yield api


async def ask(api: Api, strategy: str, text: str = CODE, **fields: Any) -> httpx2.Response:
    """Ask with a strategy; `options` go to it, other fields into the body."""
    options = fields.pop("options", {})
    routing = {"strategy": strategy, "options": options} if options else {"strategy": strategy}
    return await api.chat(text, routing={**routing, **fields.pop("routing", {})}, **fields)


def routing_of(response: httpx2.Response) -> dict[str, Any]:
    """The answer's `routing`: of a stream the last one, which is whole."""
    assert response.status_code == 200, response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        found = [e["routing"] for e in events_of(response.text) if e != "[DONE]" and "routing" in e]
        routing: dict[str, Any] = found[-1]
        return routing
    whole: dict[str, Any] = response.json()["routing"]
    return whole


def text_of(response: httpx2.Response) -> str:
    """What the user reads."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    pieces = [
        choice["delta"].get("content") or ""
        for event in events_of(response.text)
        if event != "[DONE]"
        for choice in event.get("choices", [])
    ]
    return "".join(pieces)


def calls_of(routing: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(expert, purpose, status) of each step, by expert where steps ran side by side."""
    return [(step["expert"], step["purpose"], step["status"]) for step in routing["trace"]["steps"]]


def says(text: str, **how: Any) -> Behaviour:
    return Behaviour(reply=text, **how)
