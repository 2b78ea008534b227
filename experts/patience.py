"""A bound on how long a task waits, for waits that follow each other: the pieces of a stream."""

import asyncio
import time
from types import TracebackType


class Patience:
    """`with patience.until(moment):` raises TimeoutError as `asyncio.timeout` does. That makes and cancels a
    timer for each wait; here one timer goes on, and is set again where the moment has moved."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._until = 0.0
        self._task: asyncio.Task[object] | None = None
        """Who waits."""
        self._cancelling = 0
        self._over = False

    def until(self, moment: float) -> "Patience":
        """`moment` is on `time.monotonic()`'s clock."""
        self._until = moment
        return self

    def close(self) -> None:
        """Nobody waits any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - coroutines of a server run in tasks
            raise RuntimeError("only a task can wait")
        self._task, self._cancelling, self._over = task, task.cancelling(), False
        if self._timer is None or self._until < self._rings_at:
            self.close()
            self._set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._over or task is None or task.uncancel() > self._cancelling:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _set(self) -> None:
        wait_s = max(0.0, self._until - time.monotonic())
        self._rings_at = self._until
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait sets it again
        if time.monotonic() < self._until:
            self._set()
            return
        self._over = True
        self._task.cancel()
