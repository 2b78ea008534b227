"""Ending child processes."""

import asyncio
import signal

import pytest

from base.processes import end_process


@pytest.mark.parametrize(
    ("script", "grace_s", "code"),
    [
        ("echo up; exec sleep 60", 30.0, -signal.SIGTERM),
        ("trap '' TERM; echo up; while :; do sleep 0.1; done", 0.05, -9),
    ],
)
async def test_a_process_is_asked_to_end_and_killed_when_it_does_not(
    script: str, grace_s: float, code: int
) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    await end_process(process, grace_s)
    assert process.returncode == code
    await end_process(process, grace_s)
