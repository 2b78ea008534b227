"""Overhead of building a prompt mixture, without model time: `python -m benchmarks.mixture_build_cost`.

Builds one from 100 demos with the command and a fake expert without latency, then again from the stored
answers, and measures the overhead of selecting a region per request. Prints a table; `--json FILE` writes the
numbers.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measures import Measure, conclude
from experts.fake import Behaviour, run_fake_expert
from prompts.mixture.artefact import load_mixture
from prompts.mixture.build import MAX_POOL
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Mixture
from prompts.mixture.pool import DemoPool

PROJECT = Path(__file__).resolve().parents[1]
DEMOS = 100
MOST_CALLS = 1500
CHOICES = 2000
NEAREST = 8
WAIT_S = 300.0

_WORDS = ("river", "window", "garden", "stone", "paper", "engine", "bottle", "ladder", "candle", "mirror")


def demos(count: int = DEMOS) -> list[dict[str, str]]:
    """Sums, reversed words and opposites of a switch, in turns: three regions at least."""
    made = []
    for number in range(count):
        word = f"{_WORDS[number % len(_WORDS)]}{number}"
        kinds = (
            {"input": f"What is {number} plus {number + 3}?", "output": str(2 * number + 3)},
            {"input": f"Spell {word} backwards, please.", "output": word[::-1]},
            {"input": f"The {word} lamp is on. After one press it is", "output": f"off, {word}"},
        )
        made.append(kinds[number % len(kinds)])
    return made


def answer(body: Mapping[str, Any]) -> Behaviour:
    """Distinct instructions, so that the maximum number of calls is made; arbitrary numbers otherwise."""
    asked = str(body["messages"][-1]["content"])
    if "Work out what the instruction was" in asked:
        return Behaviour(reply=f"Follow rule number {body['seed']} of the book.")
    return Behaviour(reply=str(len(asked) % 7))


def measures() -> list[Measure]:
    """All figures with their limits.

    Raises RuntimeError if the command fails.
    """
    with tempfile.TemporaryDirectory() as scratch, run_fake_expert(answer) as fake:
        folder = Path(scratch)
        expert = {"name": "fake", "model": "fake", "endpoint": fake.endpoint, "params_b": 1}
        registry = {"experts": [expert | {"context_length": 8192}]}
        (folder / "experts.yaml").write_text(yaml.safe_dump(registry))
        (folder / "demos.jsonl").write_text("".join(json.dumps(demo) + "\n" for demo in demos()))
        first = _build_s(folder)
        calls = fake.log.started
        again = _build_s(folder)
        mixture = load_mixture(folder / "mixture")
        full = _picking(mixture)
        return [
            Measure("build from 100 demos, whole command", first, "s", 20.0),
            Measure("calls of it", calls, "calls", MOST_CALLS),
            Measure("the same again, from kept answers", again, "s"),
            Measure("calls of that", fake.log.started - calls, "calls", 0),
            Measure(f"choose one of {len(mixture.regions)} regions, p50", _choice_ms(mixture), "ms", 0.2),
            Measure(f"and {NEAREST} of {MAX_POOL} demos, p50", _choice_ms(full), "ms", 0.2),
        ]


def _build_s(folder: Path) -> float:
    words = ("prompts", "build", str(folder / "demos.jsonl"), "--expert", "fake")
    files = ("--registry", "experts.yaml"), ("--out", "mixture"), ("--cache", "answers.sqlite")
    options = [word for option, file in files for word in (option, str(folder / file))]
    clean = {name: value for name, value in os.environ.items() if name != "COTERIE_EXPERTS"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words, *options],
        cwd=PROJECT,
        env=clean,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the build failed: {done.stderr[-500:]}")
    return time.monotonic() - started


def _picking(mixture: Mixture) -> Mixture:
    """`mixture` with regions without edges that pick demos of a pool as large as pools become."""
    rows = np.random.default_rng(1).normal(size=(MAX_POOL, mixture.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pool = DemoPool(tuple(Demo(str(number), "x") for number in range(MAX_POOL)), rows)
    regions = tuple(replace(each, radius=math.inf, demos=(), nearest=NEAREST) for each in mixture.regions)
    return replace(mixture, regions=regions, pool=pool)


def _choice_ms(mixture: Mixture) -> float:
    vectors = np.random.default_rng(0).normal(size=(CHOICES, mixture.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    taken = []
    for vector in vectors:
        started = time.perf_counter()
        mixture.choose(vector)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every limit holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixture_build_cost", description=main.__doc__)
    parser.add_argument("--json", type=Path, help="keep the numbers in this file")
    given = parser.parse_args(arguments)
    found = measures()
    return conclude(found, given.json)


if __name__ == "__main__":
    sys.exit(main())
