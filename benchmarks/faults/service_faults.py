"""Faults of the service itself, of its database, and of its disk."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import TypeVar

from benchmarks.faults.callers import IN_FLIGHT, Callers, Seen, calling
from benchmarks.faults.outcomes import Outcome, lost, next_s, told
from benchmarks.faults.processes import QUEUE, Processes
from benchmarks.postgres_server import NoPostgres, running_postgres

WORKER, PROCESS = "one of 2 workers killed under load", "service killed under load and started again"
KILLS = (WORKER, PROCESS)
DATABASE, DISK = "PostgreSQL crashed and started again", "disk of the SQLite database full"
CANNOT_PLAY = (NoPostgres, PermissionError)
LOAD_S = 1.0
"""Before a fault, and after it."""
DISK_BYTES = 4 * 2**20

Done = TypeVar("Done")


async def kills(processes: Processes, wanted: Collection[str]) -> AsyncIterator[Outcome]:
    """A service of two workers, of which one is killed, and then all."""
    good = processes.fake("good-kills")
    processes.ready(good)
    settings = {
        "COTERIE_DATA": str(processes.folder / "kills"),
        "COTERIE_WORKERS": "2",
        "COTERIE_RECORD_QUEUE": str(QUEUE),
    }
    service = processes.service({}, good.endpoint, settings)
    async with calling(service.url) as callers:
        if WORKER in wanted:

            async def kill_worker() -> None:
                os.kill(service.pids()[0], signal.SIGKILL)

            seen, at, _ = await _under_load(callers, kill_worker)
            yield await _killed(WORKER, callers, seen, at, elsewhere=True)
        if PROCESS in wanted:

            async def kill_all() -> None:
                for pid in reversed(service.pids()):
                    os.kill(pid, signal.SIGKILL)
                service.process.wait()
                port = int(service.url.rpartition(":")[2])
                await asyncio.to_thread(lambda: processes.service({}, good.endpoint, settings, port=port))

            seen, at, _ = await _under_load(callers, kill_all)
            yield await _killed(PROCESS, callers, seen, at, elsewhere=False)


async def _killed(fault: str, callers: Callers, seen: list[Seen], at: float, *, elsewhere: bool) -> Outcome:
    missing = await callers.missing(seen)
    # Each request in flight may have put its row in over the bound.
    may_miss = QUEUE + IN_FLIGHT
    return Outcome(fault, told(seen), next_s(seen, at, IN_FLIGHT), lost(seen), missing, may_miss, elsewhere)


async def database_gone(processes: Processes, wanted: Collection[str]) -> AsyncIterator[Outcome]:
    """The service goes on without its database, and what it decided is there afterwards."""
    good = processes.fake("good-database")
    processes.ready(good)
    with running_postgres() as server:
        url = server.new_database()
        processes.coterie("db", "upgrade", COTERIE_DATABASE_URL=url)
        service = processes.service({}, good.endpoint, {"COTERIE_DATABASE_URL": url})
        async with calling(service.url) as callers:

            async def crash() -> int:
                await asyncio.to_thread(server.crash)
                await asyncio.sleep(LOAD_S)
                status = await callers.status("/readyz")
                await asyncio.to_thread(server.start)
                return status

            seen, at, status = await _under_load(callers, crash)
            yield await _went_on(DATABASE, callers, seen, at, f"; `/readyz` {status} meanwhile")


async def disk_full(processes: Processes, wanted: Collection[str]) -> AsyncIterator[Outcome]:
    """The database is on a small file system of its own, which something else fills. Needs root (Linux)."""
    if os.geteuid() != 0:
        raise PermissionError("a disk is made as root alone")
    good = processes.fake("good-disk")
    processes.ready(good)
    disk = processes.folder / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={DISK_BYTES} faults {disk}"
    before = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    service = processes.service({}, good.endpoint, {"COTERIE_DATA": str(disk)}, before=before)
    # Only the service sees that disk.
    filler = Path(f"/proc/{service.process.pid}/root{disk}/filler")
    async with calling(service.url) as callers:

        async def fill() -> None:
            await asyncio.to_thread(_fill, filler)
            await asyncio.sleep(LOAD_S)
            await asyncio.to_thread(filler.unlink)

        seen, at, _ = await _under_load(callers, fill)
        refused = sum("recorder_retries" in line for line in service.log.read_text().splitlines())
        yield await _went_on(DISK, callers, seen, at, f"; {refused} writes refused meanwhile")


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


async def _went_on(fault: str, callers: Callers, seen: list[Seen], at: float, said: str) -> Outcome:
    missing = await callers.missing(seen)
    return Outcome(fault, told(seen) + said, next_s(seen, at, IN_FLIGHT), lost(seen), missing)


async def _under_load(
    callers: Callers, fault: Callable[[], Awaitable[Done]]
) -> tuple[list[Seen], float, Done]:
    """What clients that keep asking see before, during and after `fault`; when it began, and its result."""
    stop = asyncio.Event()
    asking = asyncio.create_task(callers.keep_asking("coterie", stop))
    await asyncio.sleep(LOAD_S)
    at = time.perf_counter()
    done = await fault()
    await asyncio.sleep(LOAD_S)
    stop.set()
    return await asking, at, done
