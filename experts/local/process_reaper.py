"""Run a command so that none of its processes outlives the parent. A script with the standard library only.

    python process_reaper.py GRACE COMMAND...

The command runs in its own process group. On SIGTERM, when standard input closes (the parent has ended) or
when the command exits, the group gets SIGTERM and, GRACE seconds later, SIGKILL. The exit code is the
command's, or 128 + N after signal N.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICK = 0.05


def main(grace: float, command: list[str]) -> int:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the select below
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_follow_into_death
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return 127
    while child.poll() is None:
        readable, _, _ = select.select([sys.stdin, wake_read], [], [])
        if asked or sys.stdin in readable:
            break
        os.read(wake_read, 64)
    _end_group(child, grace)
    code = child.wait()
    return 128 - code if code < 0 else code


def _end_group(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """End the child's group; returns when no process of it is left."""
    deadline = time.monotonic() + grace
    left = _signal_group(child.pid, signal.SIGTERM)
    while left:
        time.sleep(TICK)
        if child.poll() is not None:  # first, so that its exit code is not lost to the next line
            _reap_orphans(child.pid)
        late = time.monotonic() >= deadline
        left = _signal_group(child.pid, signal.SIGKILL if late else 0)


def _signal_group(group: int, number: int) -> bool:
    """Whether the group exists; signal 0 only tests."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _reap_orphans(group: int) -> None:
    """Reap the child's orphans, ours as subreaper, since zombies keep a group alive."""
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG):
            pass


def _follow_into_death() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the closing of standard input suffices."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
