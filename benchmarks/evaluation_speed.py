"""Throughput of the evaluation harness with a free model: `python -m benchmarks.evaluation_speed`.

Runs a checkable benchmark of generated questions against the fake expert in a separate process, through
the whole pipeline: Inspect, client, cache, scoring, items. Prints items per second of the whole run, and of
the same run from the cache.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import ApiError, Client

BOUND = 150.0
"""Required items per second."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Items per second of wall time and of this process's CPU time."""

    items: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.items / self.seconds

    @property
    def cpu_rate(self) -> float:
        return self.items / self.cpu_seconds


def measure(count: int, concurrency: int) -> dict[str, Speed]:
    """The speed of a run of `count` questions: `asked` for the first time, and `cached`.

    A short warm-up run excludes imports from the measurement.
    """
    from eval.engine.contestants import parse_contestants
    from eval.engine.run import RunOptions, run_benchmark
    from eval.protocols.checkable import Checkable
    from eval.suite import load_suite

    folder = Path(tempfile.mkdtemp(prefix="coterie-harness-"))
    try:
        with fake_expert() as api:
            (contestant,) = parse_contestants("fake", api=api)
            speeds = {}
            for name, questions in (("warm-up", 20), ("asked", count), ("cached", count)):
                suite = load_suite(_suite(folder / f"{questions}.jsonl", questions))
                options = RunOptions(concurrency=concurrency, cache=folder / "answers.sqlite")
                clock, cpu = time.perf_counter(), time.process_time()
                finished = run_benchmark(Checkable(suite), [contestant], folder / name, options=options)
                if not finished.complete or len(finished.items) != questions:
                    raise RuntimeError("the run is not complete")
                speeds[name] = Speed(questions, time.perf_counter() - clock, time.process_time() - cpu)
            del speeds["warm-up"]
            return speeds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fake_expert() -> Iterator[str]:
    """A fake expert in a separate process; yields the base URL of its API."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "experts.fake", "--port", str(port), "--reply", "The answer is 4."]
    )
    api = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with Client(api) as client:
                    client.models()
                    break
            except ApiError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the fake expert did not start") from None
                time.sleep(0.05)
        yield api
    finally:
        process.terminate()
        process.wait(timeout=10)


def _suite(path: Path, count: int) -> Path:
    rows = (
        {
            "id": f"sum-{number}",
            "category": "math",
            "prompt": f"What is {number} + {4 - number}? Answer with the number alone.",
            "check": {"kind": "number", "value": 4},
        }
        for number in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation_speed", description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args(arguments)
    for name, speed in measure(given.items, given.concurrency).items():
        sys.stdout.write(
            f"{name}: {speed.items} items in {speed.seconds:.1f} s, {speed.rate:.0f} items/s; "
            f"{speed.cpu_rate:.0f} items a second of processor time (bound {BOUND:.0f} items/s)\n"
        )


if __name__ == "__main__":
    main()
