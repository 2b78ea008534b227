"""Run one command so that nothing of it outlives us. A script: standard library only, no Coterie.

    python process_reaper.py GRACE COMMAND...

The command runs in a process group of its own. On SIGTERM, or when standard input closes because the
process that started us is gone, the group gets SIGTERM and, GRACE seconds later, SIGKILL; the same
when the command ends by itself and leaves children behind (a vLLM API server that is killed leaves its
engine, with the memory). Exits as the command did; 128 + N when signal N ended it.
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
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the wait below
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
    """Ask the child's group to end, then make it; return when nobody of it is left."""
    deadline = time.monotonic() + grace
    left = _signal_group(child.pid, signal.SIGTERM)
    while left:
        time.sleep(TICK)
        if child.poll() is not None:  # first, so that its exit code is not lost to the next line
            _reap_orphans(child.pid)
        late = time.monotonic() >= deadline
        left = _signal_group(child.pid, signal.SIGKILL if late else 0)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anybody to signal; number 0 only asks."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _reap_orphans(group: int) -> None:
    """Collect what the ended child left behind, ours as subreaper; zombies count as alive in a group."""
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG):
            pass


def _follow_into_death() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the closing of standard input has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
