"""The parent of several workers: binds once, starts them, replaces those that end, and stops them all.

It serves nothing and loads nothing that serves, so it is small and does not fail as a worker may. Workers are
forked from multiprocessing's fork server, a process without threads that has imported their modules
(`app.workers.preload`): a fork of this process would not be safe, and one that imports everything anew takes
seconds and shares no memory. All accept from one listening socket, so whoever is free takes the next
connection, and what waits in its queue outlives any worker.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import structlog

from app.errors import StartError
from app.listening import BACKLOG, bind, has_terminal, on_signals, url_of
from app.settings import Settings
from app.workers.channel import Channel, QuestionRefused
from app.workers.entry import run_worker, upgrade_database
from app.workers.joint_reload import GONE, outcome, reload_all
from app.workers.place import Place
from base.retries import RetryPolicy

RESTARTS = RetryPolicy(first_wait_s=0.5, longest_wait_s=30.0)
STEADY_S = 60.0
"""A worker that served this long has not failed to start: the next one is started without much of a wait."""
ANSWER_S = 5.0
"""How long a worker may take to answer a question."""
OVERTIME_S = 10.0
"""Beyond the time that a worker's own stop may take, after which it is killed."""

log = structlog.get_logger(__name__)


async def supervise(settings: Settings, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve by `settings.workers` processes until SIGINT or SIGTERM; a second signal stops waiting for
    answers in flight. SIGHUP reloads, where there is no terminal. `on_ready` is told the URL when all serve.

    Raises StartError with what to do when the service cannot start.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise StartError("COTERIE_WORKERS: this system cannot fork workers; set it to 1")
    # Where the fork server finds what it may load for all workers.
    os.environ["COTERIE_EXPERTS"] = str(settings.experts.absolute())
    with contextlib.closing(bind(settings.host, settings.port)) as listener, _shared_folder() as folder:
        supervisor = _Supervisor(settings, listener, folder)
        # The terminal sends it when it is gone; without one it is the operator's wish to reload.
        hangup = supervisor.stop if has_terminal() else supervisor.begin_reload
        with (
            on_signals(supervisor.stop, signal.SIGINT, signal.SIGTERM),
            on_signals(hangup, signal.SIGHUP),
        ):
            await supervisor.run(on_ready)
    log.info("stopped")


@contextlib.contextmanager
def _shared_folder() -> Iterator[Path]:
    """A new folder for what the workers of this start share: metrics, conversations, quotas."""
    folder = Path(tempfile.mkdtemp(prefix="coterie-workers-"))
    (folder / "metrics").mkdir()
    # Read by prometheus_client when it is imported, which this process does not do.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    # A pool of threads for products of matrices in each worker would be more threads than cores; and a
    # process with threads is not one to fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        yield folder
    finally:
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        shutil.rmtree(folder, ignore_errors=True)


class _WorkerProcess:
    """A worker that was started, and the channel to it."""

    def __init__(self, number: int, process: BaseProcess, channel: Channel) -> None:
        self.number = number
        self.channel = channel
        self.serves = False
        self.why: str | None = None
        """Why it cannot start, as it says."""
        self._process = process
        self._ended = asyncio.Event()
        self._hearing = asyncio.create_task(channel.run(), name=f"worker {number}")
        asyncio.get_running_loop().add_reader(process.sentinel, self._note_end)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative after a signal."""
        await self._ended.wait()
        self.channel.close()
        await self._hearing
        self._process.join()
        return self._process.exitcode or 0

    async def ask(self, what: str, given: Any = None, *, seconds: float = ANSWER_S) -> Any:
        """Raises ChannelClosed, QuestionRefused and TimeoutError."""
        async with asyncio.timeout(seconds):
            return await self.channel.ask(what, given)

    def kill(self) -> None:
        self._process.kill()

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._ended.set()


class _Supervisor:
    """Keeps the workers of one service."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: Path) -> None:
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["app.workers.preload"])
        self._workers: dict[int, _WorkerProcess] = {}
        self._served: Any = None
        """The identity of what all of them route by."""
        self._turn = asyncio.Lock()
        """Of reloads, and of workers that begin to serve."""
        self._all_serve = asyncio.Event()
        self._stopping = asyncio.Event()
        self._begun: set[asyncio.Task[Any]] = set()

    async def run(self, on_ready: Callable[[str], None]) -> None:
        """Start the workers and keep them until `stop`. Raises StartError."""
        started = time.monotonic()
        await asyncio.to_thread(self._upgrade_database)
        count = self._settings.workers
        keeping = [asyncio.create_task(self._keep(number), name=f"keep {number}") for number in range(count)]
        all_serve = asyncio.create_task(self._all_serve.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({all_serve, stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            if self._all_serve.is_set() and not self._stopping.is_set():
                self._listener.listen(BACKLOG)  # each worker is about to do it too
                url = url_of(self._settings.host, self._listener.getsockname()[1])
                log.info("serving", url=url, workers=count, after_s=round(time.monotonic() - started, 2))
                on_ready(url)
                await asyncio.wait({stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            # With the last worker's the socket is closed, and nobody waits for one that will not come.
            self._listener.close()
            for task in (all_serve, stopping, *self._begun):
                task.cancel()
            await self._end_workers(keeping)
        for task in keeping:
            task.result()

    def stop(self) -> None:
        """Ask all to stop gracefully; the second time, to wait for nobody."""
        if self._stopping.is_set():
            self._tell_to_stop(now=True)
        self._stopping.set()

    def begin_reload(self) -> None:
        """Reload all or none; the log says what became of it."""

        async def reload() -> None:
            with contextlib.suppress(QuestionRefused):
                await self._reload()

        self._begin(reload())

    def _upgrade_database(self) -> None:
        """Raises StartError."""
        hears, tells = self._context.Pipe(duplex=False)
        process = self._context.Process(target=upgrade_database, args=(self._settings, tells), daemon=True)
        process.start()
        tells.close()
        try:
            why = hears.recv()
        except EOFError:
            why = "the database could not be opened: the log says why"
        process.join()
        if why is not None:
            raise StartError(why)

    async def _keep(self, number: int) -> None:
        """Start worker `number`, and another one when it ends. Raises StartError when the service cannot
        start."""
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            worker = await self._start(number)
            code = await worker.ended()
            del self._workers[number]
            _forget_gauges(self._folder / "metrics", worker.pid)
            if self._stopping.is_set():
                return
            if not self._all_serve.is_set():
                raise StartError(worker.why or f"worker {number} ended with {code}: the log says why")
            failures = 0 if time.monotonic() - begun > STEADY_S else failures + 1
            wait_s = RESTARTS.delay(max(0, failures - 1))
            log.error(
                "worker_ended", worker=number, pid=worker.pid, code=code, why=worker.why, restart_in_s=wait_s
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()

    async def _start(self, number: int) -> _WorkerProcess:
        ours, theirs = socket.socketpair()
        place = Place(number, self._settings.workers, self._folder, self._listener, theirs)
        process = self._context.Process(
            target=run_worker, args=(self._settings, place), name=f"coterie worker {number}", daemon=True
        )
        with contextlib.closing(theirs):
            await asyncio.to_thread(process.start)

        async def answer(what: str, given: Any) -> Any:
            return await self._answer(worker, what, given)

        worker = _WorkerProcess(number, process, await Channel.open(ours, answer))
        self._workers[number] = worker
        log.info("worker_started", worker=number, pid=worker.pid)
        if self._stopping.is_set():
            self._tell_to_stop(now=False)
        return worker

    async def _answer(self, worker: _WorkerProcess, what: str, given: Any) -> Any:
        """What a worker asks of the parent."""
        match what:
            case "ready":
                return await self._let_serve(worker, given)
            case "failed":
                worker.why = given
                return None
            case "others":
                others = [each for each in self._serving() if each is not worker]
                asked = (_or_none(each.ask(given["what"], given["given"])) for each in others)
                return [found for found in await asyncio.gather(*asked) if found is not None]
            case "reload":
                return await self._reload()
        raise QuestionRefused(f"there is no question {what}")

    async def _let_serve(self, worker: _WorkerProcess, identity: Any) -> None:
        """Let it serve once all route by the same. What is in the folder counts: where that is not what the
        others have read before, they reload."""
        async with self._turn:
            if self._served is not None and identity != self._served:
                log.info("reloading_with_worker", worker=worker.number)
                try:
                    self._served, _ = await reload_all([*self._serving(), worker])
                except QuestionRefused as error:
                    worker.why = f"it does not read what the others have: {error}"
                    raise
            else:
                self._served = identity
            worker.serves = True
            if len(self._serving()) == self._settings.workers:
                self._all_serve.set()

    def _serving(self) -> list[_WorkerProcess]:
        return [each for _, each in sorted(self._workers.items()) if each.serves]

    async def _reload(self) -> dict[str, Any]:
        async with self._turn:
            self._served, done = await reload_all(self._serving())
            return done

    def _tell_to_stop(self, *, now: bool) -> None:
        for worker in self._workers.values():
            self._begin(outcome(worker.ask("stop", now)))

    async def _end_workers(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        self._tell_to_stop(now=False)
        grace_s = self._settings.stop_grace_s + self._settings.record_flush_s + OVERTIME_S
        _, late = await asyncio.wait(keeping, timeout=grace_s)
        if late:
            for worker in self._workers.values():
                log.error("worker_killed", worker=worker.number, pid=worker.pid, after_s=grace_s)
                worker.kill()
            await asyncio.wait(keeping)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)


async def _or_none(question: Awaitable[Any]) -> Any:
    """The answer, if there is one."""
    found = await outcome(question)
    return None if found is GONE or isinstance(found, Exception) else found


def _forget_gauges(folder: Path, pid: int) -> None:
    """What a process that has ended measured of itself is nobody's any more; what it counted stays."""
    for file in folder.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)
