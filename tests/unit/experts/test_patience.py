"""Waits that follow each other, bounded by one timer."""

import asyncio
import time

import pytest

from experts.patience import Patience


async def test_a_wait_that_is_too_long_ends() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError), patience.until(time.monotonic() + 0.01):
        await asyncio.Event().wait()


async def test_a_moment_that_moves_later_leaves_the_next_wait_its_time() -> None:
    patience = Patience()
    with patience.until(time.monotonic() + 0.01):
        pass
    with patience.until(time.monotonic() + 60):
        await asyncio.sleep(0.03)  # past the first moment


async def test_a_moment_that_moves_earlier_holds() -> None:
    patience = Patience()
    with patience.until(time.monotonic() + 60):
        pass
    with pytest.raises(TimeoutError), patience.until(time.monotonic() + 0.01):
        await asyncio.Event().wait()


async def test_a_pause_between_waits_does_not_count() -> None:
    patience = Patience()
    with patience.until(time.monotonic() + 0.01):
        pass
    await asyncio.sleep(0.03)
    with pytest.raises(TimeoutError), patience.until(time.monotonic() + 0.01):
        await asyncio.Event().wait()


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.until(time.monotonic() + 60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()
