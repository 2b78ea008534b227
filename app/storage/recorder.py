"""The background writer: decisions and feedback reach the database off the request path.

One task writes batches from one bounded queue. A full queue makes requests wait instead of losing rows;
a database that is locked or away is tried again until it answers; a normal stop writes what is left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

import structlog

from app.storage.batch_writer import BatchWriter
from app.storage.database import Database, is_transient
from app.storage.rows import NewRow, Row
from base.retries import RetryPolicy

LINGER_S = 0.1
"""How long a row waits for others to share its transaction, unless a reader waits for it."""
RETRIES = RetryPolicy(first_wait_s=0.05, longest_wait_s=2.0)

Kind = TypeVar("Kind", bound=Row)

log = structlog.get_logger(__name__)


class Recorder:
    """Writes rows in the order they were submitted, each exactly once by its id.

    `on_written` and `on_dropped` are told how many rows were written, or refused by the database for
    what they are (which no retry would change).
    """

    def __init__(
        self,
        database: Database,
        *,
        queue: int,
        batch: int,
        on_written: Callable[[int], None] = lambda _: None,
        on_dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._writer = BatchWriter(database)
        self._queue = queue
        self._batch = batch
        self._on_written = on_written
        self._on_dropped = on_dropped
        self._rows: deque[NewRow] = deque()
        self._submitted = 0
        self._settled = 0
        self._changed = asyncio.Condition()
        self._wanted = 0
        """Rows, counted like `_submitted`, that a reader waits for."""
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Rows that are not in the database yet."""
        return self._submitted - self._settled

    def waiting_row(self, table: type[Kind], row_id: str) -> Kind | None:
        """A row that was submitted and is not in the database yet."""
        for row in self._rows:
            if row.table is table and row.values["id"] == row_id:
                return table(**row.values)
        return None

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_all(), name="recorder")

    async def submit(self, row: NewRow) -> None:
        """Queue one row; waits while the queue is full. A row whose submitter is cancelled meanwhile is
        queued all the same: a client that goes away does not take its decision along."""
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._rows) < self._queue)
                self._append(row)
        except asyncio.CancelledError:
            await self.submit_over_bound(row)
            raise

    async def submit_over_bound(self, row: NewRow) -> None:
        """Queue one row without waiting for room: for requests that are being cancelled, which cannot
        wait. There are never more of these than requests in flight."""
        async with self._changed:
            self._append(row)

    async def written(self, timeout_s: float) -> bool:
        """Wait until all that was submitted before this call is in the database; False if it took longer."""
        target = self._submitted
        if self._settled >= target:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                self._wanted = target
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._settled >= target)
        return self._settled >= target

    async def stop(self, timeout_s: float) -> int:
        """Write what is left, for at most `timeout_s`; returns how many rows had to be given up."""
        if self._task is None:
            return 0
        async with self._changed:
            self._stopping = True
            self._changed.notify_all()
        done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
        if not done:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._task = None
        if self.waiting:
            log.error("recorder_gave_up", rows=self.waiting, after_s=timeout_s)
        return self.waiting

    def _append(self, row: NewRow) -> None:
        self._rows.append(row)
        self._submitted += 1
        # The writer need not look at every row that it lets linger.
        if len(self._rows) == 1 or self._should_write_now():
            self._changed.notify_all()

    async def _write_all(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._rows) or self._stopping)
                if not self._rows:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_S):
                        await self._changed.wait_for(self._should_write_now)
                batch = list(islice(self._rows, self._batch))
            refused = await self._write_until_settled(batch)
            async with self._changed:
                for _ in batch:
                    self._rows.popleft()
                self._settled += len(batch)
                self._changed.notify_all()
            self._on_written(len(batch) - refused)

    def _should_write_now(self) -> bool:
        full = len(self._rows) >= min(self._batch, self._queue)
        return full or self._stopping or self._wanted > self._settled

    async def _write_until_settled(self, batch: Sequence[NewRow]) -> int:
        """Write one batch, however often it takes; returns how many of its rows can never be written."""
        attempt = 0
        while True:
            wait = RETRIES.delay(attempt)
            try:
                await self._writer.write(batch)
                return 0
            except Exception as error:  # whatever it is: without its writer the service would stand still
                if not is_transient(error):
                    return await self._write_halves(batch, error)
                log.warning("recorder_retries", error=type(error).__name__, rows=len(batch), wait_s=wait)
            await asyncio.sleep(wait)
            attempt += 1

    async def _write_halves(self, batch: Sequence[NewRow], error: Exception) -> int:
        """Halve a batch until the bad row is alone, so that it does not take the others along."""
        if len(batch) == 1:
            # The message of a database error repeats the row, which may hold a prompt.
            log.error("recorder_row_refused", table=batch[0].table.__tablename__, error=type(error).__name__)
            self._on_dropped(1)
            return 1
        middle = len(batch) // 2
        return sum([await self._write_until_settled(half) for half in (batch[:middle], batch[middle:])])
