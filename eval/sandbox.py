"""Sandbox for code written by models.

On every Linux: a separate process (`python -I -S`, empty environment and temporary folder) with limits on CPU
and wall time, memory, file sizes, open files and output, without core dumps or (unless root) new processes
and threads; a Python audit hook refuses sockets, processes, `ctypes`, reading outside the standard library
and writing outside the temporary folder.

With user namespaces (`unshare` of util-linux): no network device, no capabilities, and a PID namespace.
Without them only the audit hook, which hostile code can bypass, blocks the network, so `run_tests` raises
SandboxUnavailable unless `allow_network_code=True`.

Not a virtual machine: code that escapes the interpreter can read the user's files (without a network), and
code can forge its own test results. Meant for models' answers to our prompts, not for untrusted submissions.
"""

import contextlib
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_RUNNER = Path(__file__).with_name("sandbox_runner.py")
_REPORT_BYTES = 64 * 1024


class SandboxUnavailable(Exception):
    """The network cannot be blocked for the code, and running it so is not allowed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run, in seconds and bytes; `part_s`: CPU time of the code and of each test (wall time:
    twice that)."""

    cpu_s: int = 5
    wall_s: float = 15.0
    part_s: float = 2.0
    memory_bytes: int = 512 * 1024**2
    file_bytes: int = 1024**2


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which tests passed, in order, and the reason if not all did (else "")."""

    passed: tuple[bool, ...]
    reason: str

    @property
    def share(self) -> float:
        """Share of the tests that passed, 0..1."""
        return sum(self.passed) / len(self.passed) if self.passed else 0.0


@lru_cache(maxsize=1)
def isolation() -> tuple[str, ...]:
    """The `unshare` command prefix, or () if the kernel refuses it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    command = (unshare, "--user", "--net", "--pid", "--fork", "--kill-child", "--")
    try:
        done = subprocess.run(
            [*command, sys.executable, "-I", "-S", "-c", ""],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={}, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.returncode == 0 else ()


def run_tests(
    candidates: Sequence[str],
    tests: Sequence[str],
    *,
    limits: Limits | None = None,
    allow_network_code: bool = False,
) -> Verdict:
    """Run the first of `candidates` that compiles, then each of `tests` in what it defined.

    Blocks for at most `limits.wall_s` seconds and a moment to clean up; run it in a thread.

    Raises:
        SandboxUnavailable: the network cannot be taken away here and `allow_network_code` is false.
    """
    limits = limits or Limits()
    prefix = isolation()
    if not prefix and not allow_network_code:
        raise SandboxUnavailable(
            "this machine does not let us take the network away from code (needs `unshare` and user "
            "namespaces); allow code to run all the same only where the answers are harmless"
        )
    if not candidates:
        return Verdict((False,) * len(tests), "no code found")
    token = secrets.token_hex(16)
    job = {
        "candidates": list(candidates),
        "tests": list(tests),
        "token": token,
        "limits": {
            "cpu_s": limits.cpu_s,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.file_bytes,
            "part_s": limits.part_s,
        },
    }
    with tempfile.TemporaryDirectory(prefix="coterie-", ignore_cleanup_errors=True) as folder:
        report, ending = _run(prefix, json.dumps(job).encode(), folder, limits.wall_s)
    return _verdict(report, ending, token, len(tests))


def _run(prefix: Sequence[str], job: bytes, folder: str, wall_s: float) -> tuple[bytes, str]:
    """The runner's report, and the reason of a failure or ""."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(job)
        stdin.seek(0)
        process = subprocess.Popen(
            [*prefix, sys.executable, "-I", "-S", "-X", "utf8", str(_RUNNER)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=folder, env={}, close_fds=True, start_new_session=True,
        )  # fmt: skip
    with process:
        try:
            return _read(process, time.monotonic() + wall_s)
        finally:
            # The group, not the process alone: `unshare` waits for its child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, str]:
    stdout = process.stdout
    if stdout is None:
        raise ValueError("the process was started without a pipe")
    report = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return report, "timed out"
            piece = os.read(stdout.fileno(), 4096)
            if not piece:
                break
            report += piece
            if len(report) > _REPORT_BYTES:
                return report[:_REPORT_BYTES], "wrote too much"
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return report, "timed out"
    return report, "" if code == 0 else "was stopped (memory, CPU time or a crash)"


def _verdict(report: bytes, ending: str, token: str, n_tests: int) -> Verdict:
    passed, problems = [False] * n_tests, []
    seen: set[str] = set()
    for line in report.decode(errors="replace").split("\n"):
        said, _, rest = line.partition(" ")
        what, _, reason = rest.partition(" ")
        if not secrets.compare_digest(said.encode(), token.encode()) or what in seen:
            continue
        seen.add(what)
        if what.isdecimal() and int(what) < n_tests:
            passed[int(what)] = reason == "ok"
        if reason != "ok":
            problems.append(f"test {int(what) + 1}: {reason}" if what.isdecimal() else f"code: {reason}")
    if ending:
        problems.append(ending)
    elif not problems and not all(passed):
        problems.append("ended before all tests had run")
    return Verdict(tuple(passed), "" if all(passed) else "; ".join(problems)[:300])
