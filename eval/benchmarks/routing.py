"""What a routing decision costs on one core: `python -m eval.benchmarks.routing`.

Pins itself to one core and one thread, then measures the encoder, the decision without it (with the
shipped composition, and with a k-NN index of 50,000 synthetic prompts), the router as a whole, and, in
processes of their own, how long a composition takes to load and how much memory routing needs.
Prints a table; `--json FILE` keeps the numbers. CPU times tell more than the clock on a busy machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval.benchmarks.measures import Measure, print_measures, write_measures

if TYPE_CHECKING:
    from routers.composition import Composition
    from routers.encoder import Encoder
    from routers.request import Matrix

# numpy and faiss count the cores when they are imported, so nothing here imports them before `main`.

PROJECT = Path(__file__).resolve().parents[2]
SHORT = "Write a Python function that reverses a linked list."
PASSAGE = (
    "The committee met on Tuesday to discuss the river flood defences, the cost of the new pumping "
    "station, and whether the old mill could be restored before the winter storms arrive. "
)
LONG_WORDS = 2_000
INDEXED = 50_000
CLUSTERS = 200
"""Synthetic prompts lie around so many directions, as those of real traffic do."""
WARM_UP = 10

LOAD = """
import json, sys, time
from pathlib import Path
from routers.composition import load_composition
started = time.perf_counter()
load_composition(Path(sys.argv[1]))
print(time.perf_counter() - started)
"""
ROUTE = """
import sys
from pathlib import Path
from routers.composition import load_composition
from routers.encoder import load_encoder
from routers.request import Request, Turn
from routers.router import Router
router = Router(load_encoder(), load_composition(Path(sys.argv[1])))
for length in (1, 50, 400, 2000, 20000):
    for text in ("word " * length, "Why? " * length):
        router.route(Request("r", (Turn("user", text),)))
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 when a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m eval.benchmarks.routing", description=__doc__)
    parser.add_argument("--composition", type=Path, default=PROJECT / "routers" / "compositions" / "cpu")
    parser.add_argument("--indexed", type=int, default=INDEXED, help="synthetic prompts in the k-NN index")
    parser.add_argument("--rounds", type=int, default=200, help="of each short measure; long ones a tenth")
    parser.add_argument("--core", type=int, help="the core to use; by default the last one allowed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    _pin(given.core)
    measures = _measure(given.composition, given.indexed, given.rounds)
    print_measures(measures)
    if given.json:
        write_measures(measures, given.json)
    return 0 if all(each.holds for each in measures) else 1


def _pin(core: int | None) -> None:
    """One core and one thread for this process and its children."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"


def _measure(folder: Path, indexed: int, rounds: int) -> list[Measure]:
    from routers.composition import load_composition, save_composition
    from routers.encoder import load_encoder

    shipped, encoder = load_composition(folder), load_encoder(threads=1)
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch:
        synthetic = Path(scratch) / "synthetic"
        save_composition(synthetic_composition(shipped, encoder, indexed), synthetic)
        return [
            *_encoding(encoder, rounds),
            *_deciding(shipped, load_composition(synthetic), encoder, indexed, rounds),
            *_routing(shipped, encoder, rounds),
            Measure("load the shipped composition", _child(LOAD, folder), "s", 1),
            Measure(f"load one with {indexed:,} indexed prompts", _child(LOAD, synthetic), "s", 1),
            Measure("process that routes, peak resident", _child(ROUTE, folder), "MB", 500),
        ]


def _encoding(encoder: "Encoder", rounds: int) -> list[Measure]:
    from routers.features import features_of

    long = long_text(LONG_WORDS)
    return [
        *_timed("encode a short request", lambda: encoder.encode([SHORT]), rounds, 3),
        *_timed(f"encode {LONG_WORDS:,} words", lambda: encoder.encode([long]), rounds // 10, 150),
        *_timed("all features of a short request", lambda: features_of(encoder, [SHORT]), rounds),
    ]


def _deciding(
    shipped: "Composition", synthetic: "Composition", encoder: "Encoder", indexed: int, rounds: int
) -> list[Measure]:
    from routers.decide import decide
    from routers.features import features_of
    from routers.request import Request, Turn

    turns = (Turn("user", SHORT),)
    asked = Request("r", turns, features_of(encoder, [SHORT])[0])
    # Each search asks for something else, as live requests do: a graph is slower on fresh ground.
    near = synthetic_embeddings(rounds, encoder.dimension, seed=2)
    features = features_of(encoder, [SHORT] * rounds)
    features[:, : encoder.dimension] = near
    fresh = iter([Request("r", turns, row) for row in features] * 2)
    return [
        *_timed("decide, shipped composition", lambda: decide(asked, shipped, shipped.policy), rounds, 0.3),
        *_timed(
            f"decide, {indexed:,} indexed prompts",
            lambda: decide(next(fresh), synthetic, synthetic.policy),
            rounds,
            0.3,
        ),
    ]


def _routing(shipped: "Composition", encoder: "Encoder", rounds: int) -> list[Measure]:
    from routers.request import Request, Turn
    from routers.router import Router

    router = Router(encoder, shipped)
    short = Request("r", (Turn("user", SHORT),))
    long = Request("r", (Turn("user", long_text(LONG_WORDS)),))
    return [
        *_timed("route a short request", lambda: router.route(short), rounds, 5),
        *_timed(f"route {LONG_WORDS:,} words", lambda: router.route(long), rounds // 10, 150),
    ]


def _timed(
    name: str, work: Callable[[], object], rounds: int, bound: float | None = None
) -> tuple[Measure, Measure]:
    """Median milliseconds of `work`, by the clock and by what the core spent on it; the bound is on
    the first, and on a quiet core both are the same."""
    passed, spent = [], []
    for turn in range(min(WARM_UP, rounds) + max(rounds, 1)):
        started, busy = time.perf_counter(), time.process_time()
        work()
        if turn >= min(WARM_UP, rounds):
            passed.append((time.perf_counter() - started) * 1000)
            spent.append((time.process_time() - busy) * 1000)
    return (
        Measure(f"{name}, p50", statistics.median(passed), "ms", bound),
        Measure(f"{name}, CPU", statistics.median(spent), "ms"),
    )


def _child(code: str, folder: Path) -> float:
    """The number that `code` prints about the composition in `folder`, in a fresh interpreter."""
    command = [sys.executable, "-c", code, str(folder.resolve())]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: {done.stderr.strip()[-2000:]}")
    return float(json.loads(done.stdout))


def long_text(words: int) -> str:
    """So many words of prose."""
    passage = PASSAGE.split()
    return " ".join((passage * (words // len(passage) + 1))[:words])


def synthetic_embeddings(count: int, dimension: int, seed: int) -> "Matrix":
    """Unit vectors around CLUSTERS directions (the same for every seed), shape (count, dimension)."""
    import numpy as np

    directions = np.random.default_rng(0).normal(size=(CLUSTERS, dimension))
    random = np.random.default_rng(seed)
    rows = directions[random.integers(CLUSTERS, size=count)] + random.normal(size=(count, dimension))
    unit: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def synthetic_composition(shipped: "Composition", encoder: "Encoder", indexed: int) -> "Composition":
    """`shipped` with a k-NN classifier over `indexed` synthetic prompts in place of its own."""
    from dataclasses import replace

    import numpy as np

    from routers.classifiers import KnnClassifier

    categories = len(shipped.categories)
    rows = synthetic_embeddings(indexed, encoder.dimension, seed=1)
    labels = np.arange(indexed) % categories
    classifier = KnnClassifier.fit(rows, labels, categories, encoder.dimension)
    return replace(shipped, classifier_name="knn", classifier=classifier)


if __name__ == "__main__":
    sys.exit(main())
