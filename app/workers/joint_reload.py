"""A reload of all workers or none: each loads and verifies; all swap when each could, and read the same."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from app.workers.channel import ChannelClosed, QuestionRefused

LOAD_S = 120.0
"""How long a worker may take to load."""
TRIES = 3
"""Loads by all workers until they have read the same, in a folder that somebody writes."""
GONE = object()
"""The outcome of a question to a worker that has ended."""


class AskedWorker(Protocol):
    """A worker, as its parent asks it."""

    async def ask(self, what: str, given: Any = None, *, seconds: float = ...) -> Any:
        """Raises ChannelClosed, QuestionRefused and TimeoutError."""
        ...


async def reload_all(workers: Sequence[AskedWorker]) -> tuple[Any, dict[str, Any]]:
    """What all of them have loaded (`Reloader.identity`), and the document of a `Reloaded`. One that ends
    meanwhile is left out: it reads the folder when it is started again. Raises QuestionRefused, and then none
    has swapped."""
    why = "no worker is there"
    for _ in range(TRIES):
        loads = await asyncio.gather(*(outcome(each.ask("prepare", seconds=LOAD_S)) for each in workers))
        workers = [each for each, load in zip(workers, loads, strict=True) if load is not GONE]
        loads = [load for load in loads if load is not GONE]
        refusals = [load for load in loads if isinstance(load, Exception)]
        if refusals:
            why = str(refusals[0]) or "a worker took too long to load it"
            break
        if loads and all(load == loads[0] for load in loads):
            asked = (outcome(each.ask("commit", number == 0)) for number, each in enumerate(workers))
            done = [each for each in await asyncio.gather(*asked) if isinstance(each, dict)]
            if done:
                return loads[0], {**done[0], "workers": len(done)}
        why = "the workers read different compositions: is somebody writing the folder?"
    # One of them counts and logs it, for all.
    asked = (outcome(each.ask("abandon", None if number else why)) for number, each in enumerate(workers))
    await asyncio.gather(*asked)
    raise QuestionRefused(why)


async def outcome(question: Awaitable[Any]) -> Any:
    """The answer, the refusal or the timeout; GONE when nobody is there any more."""
    try:
        return await question
    except ChannelClosed:
        return GONE
    except (QuestionRefused, TimeoutError) as error:
        return error
