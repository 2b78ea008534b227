"""The k-NN index by its size: `python -m benchmarks.index_growth`.

Indexes the seed prompts' embeddings and others drawn around them (`benchmarks.growth_data`), and measures on
one thread: building, the size of the file, loading the composition (verifying its digests, then mapping), one
search, and how much of the exact answer it finds. Two kinds of requests are asked: seed prompts that were
held out, around which nothing was drawn ("strangers"), and vectors drawn as the indexed ones were
("regulars"). Recall is the share of the 20 nearest; "same category" the share of requests whose likeliest
category is that of the exact answer. `--page` puts the table into docs/explanation/growth.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measured_pages import fill_page

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from routers.classifiers import KnnClassifier
    from routers.request import Matrix

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "explanation" / "growth.md"
COMPOSITION = PROJECT / "routers" / "compositions" / "cpu"
SIZES = (5_000, 50_000, 200_000, 1_000_000)
ASKED = 500
"""Requests of each kind."""
BLOCK = 100_000

LOAD = """
import sys, time
from pathlib import Path
import faiss
from routers.composition import load_composition
started = time.perf_counter()
load_composition(Path(sys.argv[1]))
print(time.perf_counter() - started)
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """One kind of requests: processor milliseconds at the median and the 95th percentile, and agreement
    with the exact answer."""

    p50: float
    p95: float
    recall: float
    same_category: float


def exact_neighbours(
    indexed: "Matrix", asked: "Matrix", count: int
) -> "tuple[Matrix, npt.NDArray[np.int64]]":
    """Similarities and rows of the nearest `count`, both (requests, count), by comparing with all vectors."""
    import numpy as np

    near = np.full((len(asked), count), -2, dtype=np.float32)
    found = np.zeros((len(asked), count), dtype=np.int64)
    for start in range(0, len(indexed), BLOCK):
        products = asked @ indexed[start : start + BLOCK].T
        rows = np.broadcast_to(np.arange(start, start + products.shape[1]), products.shape)
        near, found = np.concatenate([near, products], axis=1), np.concatenate([found, rows], axis=1)
        best = np.argpartition(-near, count - 1, axis=1)[:, :count]
        near, found = np.take_along_axis(near, best, axis=1), np.take_along_axis(found, best, axis=1)
    order = np.argsort(-near, axis=1)
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(found, order, axis=1)


def compare(classifier: "KnnClassifier", indexed: "Matrix", asked: "Matrix") -> Answers:
    """Ask one request after the other, as a service does."""
    import numpy as np

    near, found = exact_neighbours(indexed, asked, 20)
    exact = classifier.log_shares(near, found).argmax(axis=1)
    spent, shared, same = [], [], []
    for row, truth, category in zip(asked, found, exact, strict=True):
        begun = time.process_time()
        logits = classifier.logits(row[None, :])
        spent.append((time.process_time() - begun) * 1000)
        same.append(int(logits.argmax()) == category)
        mine = classifier.index.search(row[None, :], len(truth))[1][0]
        shared.append(len(np.intersect1d(mine, truth)) / len(truth))
    return Answers(
        statistics.median(spent),
        float(np.quantile(spent, 0.95)),
        float(np.mean(shared)),
        float(np.mean(same)),
    )


def measure(size: int) -> str:
    """A row of the table."""
    import numpy as np

    from benchmarks.growth_data import perturbed
    from prompts.seeds import load_seeds
    from routers.classifiers import KnnClassifier
    from routers.composition import load_composition, save_composition
    from routers.conversation import prompt_text
    from routers.embeddings import encode_cached, vectors_folder
    from routers.encoder import load_encoder

    seeds = load_seeds("fit")
    real = encode_cached(load_encoder(), [prompt_text(each.prompt) for each in seeds], vectors_folder())
    shipped = load_composition(COMPOSITION)
    names = shipped.categories
    labels = np.asarray([names.index(seed.category) for seed in seeds])
    order = np.random.default_rng(0).permutation(len(real))
    strangers, base = real[order[:ASKED]], np.ascontiguousarray(real[order[ASKED:]])
    drawn, sources = perturbed(base, max(size - len(base), 0), seed=1)
    indexed = np.concatenate([base, drawn])[:size]
    of_indexed = np.concatenate([labels[order[ASKED:]], labels[order[ASKED:]][sources]])[:size]
    regulars, _ = perturbed(base[:size], ASKED, seed=2)
    begun = time.process_time()
    classifier = KnnClassifier.fit(indexed, of_indexed, len(names), indexed.shape[1])
    built = time.process_time() - begun
    with tempfile.TemporaryDirectory(prefix="coterie-growth-") as scratch:
        folder = Path(scratch) / "composition"
        save_composition(replace(shipped, classifier_name="knn", classifier=classifier), folder)
        mapped = load_composition(folder).classifier
        if not isinstance(mapped, KnnClassifier):
            raise SystemExit("the composition has another classifier")
        command = [sys.executable, "-c", LOAD, str(folder)]
        loaded = float(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
        megabytes = sum(path.stat().st_size for path in folder.glob("*.faiss")) / 1e6
        kinds = [compare(mapped, indexed, asked) for asked in (strangers, regulars)]
    cells = [f"{size:,}", f"{built:.0f}", f"{megabytes:,.0f}", f"{loaded:.2f}"]
    cells += [f"{kinds[0].p50:.2f} / {kinds[0].p95:.2f}"]
    cells += [f"{each.recall:.3f} | {each.same_category:.3f}" for each in kinds]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| vectors | build, CPU s | file, MB | load, s | search p50 / p95, CPU ms "
    "| recall, strangers | same category | recall, regulars | same category |\n" + "|---" * 9 + "|"
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="a page to fill")
    given = parser.parse_args(arguments)
    # Counted when numpy and faiss are imported, which nothing here does before this.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    rows = [HEAD]
    for size in given.sizes:
        rows.append(measure(size))
        sys.stderr.write(rows[-1] + "\n")
    sys.stdout.write("\n".join(rows) + "\n")
    if given.page is not None:
        fill_page(given.page, "<!-- measured: index -->", "<!-- end: index -->", "\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
