"""Notices that a client disconnects while its answer is made. Knows nothing of answers."""

import asyncio
from types import TracebackType

from starlette.types import Receive


class ClientWatch:
    """Cancels what runs within it when the client disconnects, as `asyncio.timeout` does when time is up;
    `left` says so afterwards, and the cancellation goes no further."""

    def __init__(self, receive: Receive) -> None:
        """`receive`: the request's, whose body has been read."""
        self.left = False
        self._receive = receive
        self._open = True

    async def __aenter__(self) -> "ClientWatch":
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - coroutines of a server run in tasks
            raise RuntimeError("a client can be watched within a task only")
        self._task, self._cancelling = task, task.cancelling()
        self._leaving = asyncio.create_task(_disconnect(self._receive))
        self._leaving.add_done_callback(self._note)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._open = False
        self._leaving.cancel()
        if not self.left:
            return False
        # A cancellation from elsewhere at the same time goes on.
        return self._task.uncancel() <= self._cancelling

    def _note(self, leaving: asyncio.Task[None]) -> None:
        if self._open and not leaving.cancelled():
            self.left = True
            self._task.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
