"""Many streams at once through one process: `python -m benchmarks.concurrent_streams`.

Starts a fake expert and the API with the shipped composition as separate processes, opens all streams at the
same time, and reads each to its end. A stream fails when it has another status than 200, ends in an error or
without its end, or has too few chunks.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measures import Measure, conclude
from benchmarks.service_overhead import Bench, resident_mb, running


@dataclass(frozen=True, slots=True)
class Read:
    """What came of one stream; times in seconds since all were opened."""

    whole: bool
    chunks: int
    first_s: float
    end_s: float


async def read_streams(bench: Bench, streams: int, chunks: int, delay_s: float) -> list[Read]:
    """All streams at once; the expert waits `delay_s` before each of their `chunks`."""
    import aiohttp

    fake = {"reply": "word " * chunks, "token_delay_s": delay_s}
    begun = time.perf_counter()

    async def read(session: aiohttp.ClientSession, number: int) -> Read:
        message = {"role": "user", "content": f"Write function number {number} in Python."}
        body = {"model": "coterie", "messages": [message], "stream": True, "fake": fake}
        came, first, last, status = 0, 0.0, b"", 0
        # A connection that breaks is a stream that failed.
        with contextlib.suppress(aiohttp.ClientError):
            async with session.post(f"{bench.api}/chat/completions", json=body) as response:
                status = response.status
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        first = first or time.perf_counter() - begun
                        came += bool(_text(line))
                    last = line if line.strip() else last
        whole = status == 200 and last.strip() == b"data: [DONE]" and came >= chunks
        return Read(whole, came, first, time.perf_counter() - begun)

    timeout = aiohttp.ClientTimeout(total=600)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return list(await asyncio.gather(*(read(session, number) for number in range(streams))))


def _text(line: bytes) -> str:
    choices = json.loads(line.removeprefix(b"data: ")).get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concurrent_streams", description=__doc__)
    parser.add_argument("--profile", default="cpu", help="the shipped composition to route with")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=200, help="of each stream")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each chunk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch,
        running(given.profile, Path(scratch), max_in_flight=given.streams) as bench,
    ):
        found = asyncio.run(read_streams(bench, given.streams, given.chunks, given.delay))
        peak = resident_mb(bench.pid, "VmHWM")
    failed = sum(not each.whole for each in found)
    seconds = max(each.end_s for each in found)
    measures = [
        Measure(f"of {given.streams} streams at once, failed", failed, "streams", 0),
        Measure("API process, peak resident", peak, "MB", 500),
        Measure("first chunk, p50", statistics.median(each.first_s for each in found), "s"),
        Measure("all streams", seconds, "s"),
        Measure("chunks", sum(each.chunks for each in found) / seconds, "chunks/s"),
    ]
    return conclude(measures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
