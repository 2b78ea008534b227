"""Ending child processes."""

import asyncio
from asyncio.subprocess import Process


async def end_process(process: Process, grace_s: float) -> None:
    """Ask it to end and wait; after `grace_s` seconds it is killed. Does nothing to one that has ended."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
