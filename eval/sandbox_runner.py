"""The process inside the sandbox: reads a job from standard input, sets resource limits, runs it, reports.

Started by `eval.sandbox` as `python -I -S sandbox_runner.py`; imports only the standard library.
The job is JSON: `candidates`, `tests`, `token`, `limits`. Results go to the original standard output, one per
line: `<token> code <reason>` and `<token> <index of the test> <reason>`; the reason `ok` means success.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


class TooSlow(BaseException):
    """Raised in the tested code by the timer. A `BaseException`, so `except Exception` does not catch it."""


_FORBIDDEN = (
    "socket.", "subprocess.", "ctypes.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system",
    "os.kill", "os.putenv", "os.setxattr", "pty.", "shutil.", "signal.pthread_kill", "syslog.", "webbrowser.",
)  # fmt: skip
_CHANGES_A_PATH = frozenset(
    {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
     "os.truncate", "os.utime", "os.chdir"}
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def make_guard(folder: str, readable: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that confines writes to `folder` and reads to `readable`."""
    realpath, fspath = os.path.realpath, os.fspath
    inside = (folder, "/dev/null")

    def within(path: Any, roots: tuple[str, ...]) -> bool:
        if isinstance(path, int) or path is None:
            return True
        real = realpath(os.fsdecode(fspath(path)))
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)

    def guard(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open":
            path, _, flags = args
            if not within(path, inside if (flags or 0) & _WRITES else (*inside, *readable)):
                raise PermissionError("files outside the working folder are not allowed here")
        elif event in _CHANGES_A_PATH:
            paths = args[:2] if event in {"os.rename", "os.link", "os.symlink"} else args[:1]
            if not all(within(path, inside) for path in paths):
                raise PermissionError("files outside the working folder are not allowed here")

    return guard


def limit(limits: dict[str, int]) -> None:
    """Set this process's resource limits (rlimits; seconds and bytes)."""
    for name, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def first_that_compiles(candidates: list[str]) -> tuple[CodeType | None, str]:
    """The first candidate that compiles, or None and the error of the first candidate."""
    reason = "no code found"
    for number, candidate in enumerate(candidates):
        try:
            return compile(candidate, "<answer>", "exec", dont_inherit=True), "ok"
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            if number == 0:
                reason = f"does not compile: {type(error).__name__}"
    return None, reason


def run(code: CodeType | str, namespace: dict[str, Any], seconds: float) -> str:
    """Run `code` for at most `seconds` of CPU time and twice that of wall time; returns "ok" or the error."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooSlow

    # CPU time, to be independent of the machine's load; wall time, for code that sleeps.
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, 1), (signal.ITIMER_REAL, signal.SIGALRM, 2))
    try:
        for timer, number, factor in timers:
            signal.signal(number, stop)
            # Repeats, for code that catches the first signal's exception.
            signal.setitimer(timer, seconds * factor, 0.1)
        exec(code, namespace)
    except TooSlow:
        return "too slow"
    except BaseException as error:
        # SystemExit and KeyboardInterrupt come from the tested code here.
        return type(error).__name__
    else:
        return "ok"
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    token, tests = job["token"], job["tests"]
    report_to = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    limit(job["limits"])

    def report(what: str | int, reason: str) -> None:
        os.write(report_to, f"{token} {what} {reason}\n".encode(errors="replace"))

    code, reason = first_that_compiles(job["candidates"])
    if code is None:
        report("code", reason)
        os._exit(0)
    readable = (os.path.dirname(os.path.realpath(os.__file__)), "/dev/urandom", "/usr/share/zoneinfo")
    sys.addaudithook(make_guard(os.path.realpath(os.getcwd()), readable))
    seconds = job["limits"]["part_s"]
    namespace: dict[str, Any] = {"__name__": "answer", "__builtins__": __builtins__}
    # Definitions before a failing line (an example that calls input()) are still tested.
    report("code", run(code, namespace, seconds))
    for number, test in enumerate(tests):
        report(number, run(test, namespace, seconds))
    os._exit(0)


if __name__ == "__main__":
    main()
