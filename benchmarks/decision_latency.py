"""Latency and memory of a routing decision on one core: `python -m benchmarks.decision_latency`.

Pins itself to one core and one thread, then measures the encoder, the decision without it (with the
shipped composition, and with a k-NN index of 50,000 synthetic prompts, with and without a correction of
typical size), the whole router and, in separate processes, the load time of a composition and the memory of
routing. Prints a table; `--json FILE` writes the numbers. On a busy machine prefer CPU time to wall time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measures import Measure, conclude

if TYPE_CHECKING:
    from routers.composition import Composition
    from routers.encoder import Encoder
    from routers.request import Matrix

# numpy and faiss count the cores when they are imported, so nothing here imports them before `main`.

PROJECT = Path(__file__).resolve().parents[1]
SHORT = "Write a Python function that reverses a linked list."
PASSAGE = (
    "The committee met on Tuesday to discuss the river flood defences, the cost of the new pumping "
    "station, and whether the old mill could be restored before the winter storms arrive. "
)
LONG_WORDS = 2_000
INDEXED = 50_000
CORRECTED = 8_000
"""Synthetic prompts that the correction is fitted on: as many as the largest known table has."""
POOL = 14
"""Experts that it corrects, as in the largest known pool."""
CLUSTERS = 200
"""Clusters of the synthetic embeddings."""
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
texts = [word * length for length in (1, 50, 400, 2000) for word in ("word ", "Why? ")]
for text in [*texts, "Why? " * 20000]:
    router.route(Request("r", (Turn("user", text),)))
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decision_latency", description=__doc__)
    parser.add_argument("--composition", type=Path, default=PROJECT / "routers" / "compositions" / "cpu")
    parser.add_argument("--indexed", type=int, default=INDEXED, help="synthetic prompts in the k-NN index")
    parser.add_argument("--corrected", type=int, default=CORRECTED, help="those a correction is grown on")
    parser.add_argument("--rounds", type=int, default=200, help="of each short measure; long ones a tenth")
    parser.add_argument("--core", type=int, help="the core to use; by default the last one allowed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    _pin(given.core)
    measures = _measure(given.composition, given.indexed, given.corrected, given.rounds)
    return conclude(measures, given.json)


def _pin(core: int | None) -> None:
    """One core and one thread for this process and its children."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"


def _measure(folder: Path, indexed: int, corrected: int, rounds: int) -> list[Measure]:
    from dataclasses import replace

    from routers.composition import Composition, load_composition, save_composition
    from routers.encoder import load_encoder

    shipped, encoder = load_composition(folder), load_encoder(threads=1)
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as scratch:
        indexing, correcting = Path(scratch) / "indexing", Path(scratch) / "correcting"
        with_index = synthetic_composition(shipped, encoder, indexed)
        save_composition(with_index, indexing)
        save_composition(corrected_composition(with_index, encoder, corrected), correcting)
        both = load_composition(correcting)
        without_index = replace(both, classifier_name=shipped.classifier_name, classifier=shipped.classifier)
        deciding: dict[str, tuple[Composition, float | None]] = {
            "shipped composition": (shipped, 0.3),
            f"{indexed:,} indexed prompts": (load_composition(indexing), 0.3),
            "a correction": (without_index, 0.3),
            # The limit applies to each; no known table yields a composition with both.
            f"{indexed:,} indexed prompts and a correction": (both, None),
        }
        return [
            *_encoding(encoder, rounds),
            *_deciding(deciding, encoder, rounds),
            *_routing(shipped, encoder, rounds),
            Measure("load the shipped composition", _child(LOAD, folder), "s", 1),
            Measure(f"load one with {indexed:,} indexed prompts", _child(LOAD, indexing), "s", 1),
            Measure("load that with a correction", _child(LOAD, correcting), "s", 1),
            Measure("process that routes, peak resident", _child(ROUTE, folder), "MB", 500),
            Measure("process that routes with index and correction", _child(ROUTE, correcting), "MB", 500),
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
    compositions: Mapping[str, tuple["Composition", float | None]], encoder: "Encoder", rounds: int
) -> list[Measure]:
    """`compositions`: with the bound of each, milliseconds."""
    from routers.decide import decide
    from routers.features import features_of
    from routers.request import Request, Turn

    turns = (Turn("user", SHORT),)
    # Every decision is on a new prompt, as in live traffic: graph search is slower with cold caches.
    features = features_of(encoder, [SHORT] * rounds)
    features[:, : encoder.dimension] = synthetic_embeddings(rounds, encoder.dimension, seed=2)
    measures: list[Measure] = []
    for name, (composition, bound) in compositions.items():
        fresh = iter([Request("r", turns, row) for row in features] * 2)

        def decided(composition: "Composition" = composition, fresh: Iterator[Request] = fresh) -> object:
            return decide(next(fresh), composition, composition.policy)

        measures += _timed(f"decide, {name}", decided, rounds, bound)
    return measures


def _routing(shipped: "Composition", encoder: "Encoder", rounds: int) -> list[Measure]:
    from routers.request import Request, Turn
    from routers.router import Router
    from routers.state_cache import CachedStates

    router, remembering = Router(encoder, shipped), Router(CachedStates(encoder, 1), shipped)
    short = Request("r", (Turn("user", SHORT),))
    long = Request("r", (Turn("user", long_text(LONG_WORDS)),))
    return [
        *_timed("route a short request", lambda: router.route(short), rounds, 5),
        *_timed("route a repeated short request", lambda: remembering.route(short), rounds),
        *_timed(f"route {LONG_WORDS:,} words", lambda: router.route(long), rounds // 10, 150),
    ]


def _timed(
    name: str, work: Callable[[], object], rounds: int, bound: float | None = None
) -> tuple[Measure, Measure]:
    """Median wall time and CPU time of `work`, milliseconds; the limit applies to wall time."""
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
    """Prose of `words` words."""
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


def corrected_composition(composition: "Composition", encoder: "Encoder", corrected: int) -> "Composition":
    """`composition` with POOL experts and a correction fitted on `corrected` synthetic prompts and scores:
    only its cost is meaningful."""
    from dataclasses import replace

    import numpy as np

    from routers.composition import ExpertCard
    from routers.correction import Correction, forest_inputs
    from routers.features import features_of
    from routers.fitting.corrections import fit_projection, grow_forest

    random = np.random.default_rng(3)
    words = PASSAGE.split()
    texts = [" ".join(random.choice(words, size=12)) for _ in range(corrected // 20)]
    features = np.repeat(features_of(encoder, texts), 20, axis=0)
    features[:, : encoder.dimension] = synthetic_embeddings(len(features), encoder.dimension, seed=4)
    scores = (random.random((len(features), POOL)) < 0.5).astype(np.float64)
    posterior = random.dirichlet(np.ones(len(composition.categories)), len(features)).astype(np.float32)
    projection = fit_projection(features, encoder.dimension)
    forest = grow_forest(
        forest_inputs(projection, features, posterior), scores, np.ones(POOL), seed=0, cores=1
    )
    correction = Correction(
        projection,
        forest.forest,
        np.eye(POOL, dtype=np.float32),
        np.zeros(POOL, dtype=np.float32),
    )
    cells = (len(composition.categories), POOL)
    pool = tuple(
        ExpertCard(f"expert-{each}", params_b=1.0 + each, active_params_b=1.0 + each) for each in range(POOL)
    )
    return replace(
        composition,
        experts=pool,
        utilities=random.random(cells).astype(np.float32),
        errors=np.full(cells, 0.05, dtype=np.float32),
        counts=np.full(cells, 100, dtype=np.float32),
        global_utilities=np.full(POOL, 0.5, dtype=np.float32),
        tokens=None,
        correction=correction,
        # Nobody knows what its experts cost.
        policy=replace(composition.policy, generalist=pool[0].name, cost_weight=0.0, compute_weight=0.0),
    )


if __name__ == "__main__":
    sys.exit(main())
