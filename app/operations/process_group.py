"""Child processes in one terminal, their output lines prefixed.

Each runs under `experts.local.process_reaper`, so that none outlives this process.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from base.processes import end_process
from experts.local import process_reaper

LINE_BYTES = 1 << 20
"""A longer line of a child is cut into several."""
TETHER_EXTRA_S = 5.0

Say = Callable[[str, str], None]
"""Told a process's name and one line of what it prints."""


class Child:
    """One process. Use from one event loop."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, grace_s: float, say: Say
    ) -> None:
        """`environment` is added to ours; `grace_s` is what a stop leaves it before it is killed."""
        self.name = name
        self._command = tuple(command)
        self._environment = dict(environment)
        self._grace_s = grace_s
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", process_reaper.__file__, str(self._grace_s), *self._command),
            stdin=asyncio.subprocess.PIPE,  # never written to: its closing tells that we are gone
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._environment},
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C at the terminal is for us to hand on
        )
        self._pump = asyncio.create_task(self._pass_lines(self._process), name=f"lines of {self.name}")

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        code = await self._process.wait()
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=1.0)
        return code

    async def stop(self) -> None:
        """Ask it to stop and wait; it is killed after its grace. Safe to repeat."""
        process = self._process
        if process is None:
            return
        await end_process(process, self._grace_s + TETHER_EXTRA_S)
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=1.0)
            self._pump.cancel()

    def kill(self) -> None:
        """End it at once: its reaper takes its command along."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _pass_lines(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while True:
            try:
                line = await process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    self._say(self.name, error.partial.decode(errors="replace").rstrip())
                return
            except asyncio.LimitOverrunError as error:
                line = await process.stdout.readexactly(error.consumed)
            self._say(self.name, line.decode(errors="replace").rstrip())
