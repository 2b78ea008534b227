"""A service over fake experts, served from a thread for clients that block. What an expert does is told by a
mark in the question: `[[length]]`."""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.services import Services
from experts.fake import FAULTS, Behaviour, Chooser, RunningFake, run_fake_expert
from tests.integration.app.world import EXPERTS, Api, small_world

STEPS = 10
"""Tool calls of the agent's task."""
WAYS: Mapping[str, Behaviour] = {
    "empty": Behaviour(reply=""),
    "unicode": Behaviour(reply='naïve 東京 🙂\u200d↔️ \u2028 "quoted" \\ end\n'),
    "length": Behaviour(finish_reason="length"),
    "rejected": Behaviour(status=400, error={"message": "bad top_k", "type": "BadRequestError"}),
    "busy": Behaviour(status=429),
    "breaks": Behaviour(error_after=3),
    "steps": Behaviour(tool_steps=STEPS, reply="All is done."),
}
"""What an expert does by the mark in the question; without one it repeats the question."""
_MARK = re.compile(r"\[\[([\w-]+)\]\]")


def behave(body: Mapping[str, Any]) -> Behaviour:
    """By the first mark in any message: a strategy's own questions hold the client's. A fault is a mark."""
    found = _MARK.search(str(body))
    mark = found[1] if found else ""
    return WAYS.get(mark) or Behaviour(case=mark if mark in FAULTS else None)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service as its clients see it."""

    url: str
    http: httpx2.Client
    fakes: Mapping[str, RunningFake]
    services: Services


@contextmanager
def serve(
    folder: Path, behaviour: Chooser = behave, *, endpoint: str | None = None, **fields: Any
) -> Iterator[Service]:
    """A service whose experts can all do everything, and are all at `endpoint` if it is given; `fields` are
    added to each in the registry."""
    with ExitStack() as stack:
        fakes = {name: stack.enter_context(run_fake_expert(behaviour, name=name)) for name in EXPERTS}
        world = small_world(folder, fakes)
        if endpoint is not None:
            world.endpoints |= dict.fromkeys(EXPERTS, endpoint)
        capable = {"capabilities": ["tools", "json_schema", "vision"], "context_length": 8000, **fields}
        running, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        found: list[Api] = []

        async def run() -> None:
            async with world.serve(expert_fields=capable, store_prompts=True) as api:
                await api.services.strategies.catalogue.ready("panel")
                found.append(api)
                ready.set()
                await stop.wait()

        def work() -> None:
            try:
                running.run_until_complete(run())
            finally:
                running.close()
                ready.set()

        thread = threading.Thread(target=work, name="service", daemon=True)
        thread.start()
        ready.wait(30)
        if not found:
            raise RuntimeError("the service did not start")
        try:
            with httpx2.Client(base_url=found[0].url, timeout=20) as http:
                yield Service(found[0].url, http, fakes, found[0].services)
        finally:
            running.call_soon_threadsafe(stop.set)
            thread.join(10)
