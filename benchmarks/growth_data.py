"""Synthetic prompts and embeddings around real ones, for measuring what grows with their number.

An embedding is a mixture of a real one with one of its near neighbours, and noise with the covariance of the
real ones. Such vectors crowd around few real prompts: what is measured on them is harder for a graph index
than a million different prompts would be, and says nothing of quality.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.files import write_text
from routers.request import Matrix

NEAR = 10
"""Neighbours that a real embedding is mixed with."""
NOISE = 0.35
"""Scale of the noise beside the real embeddings' own spread."""
BLOCK = 65_536
EXPERTS = {"small": 1.5, "medium": 8.0, "large": 30.0, "huge": 70.0}
"""Of synthetic outcome tables, with their billions of parameters."""

Index = npt.NDArray[np.int64]


def perturbed(real: Matrix, count: int, seed: int) -> tuple[Matrix, Index]:
    """`count` unit vectors around the rows of `real` (prompts, dimension), (count, dimension), and the row
    that each is mostly made of."""
    from faiss import IndexFlatIP

    exact = IndexFlatIP(real.shape[1])
    exact.add(real)
    near = exact.search(real, NEAR + 1)[1][:, 1:]
    centred = real - real.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(real))
    colour = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32) * np.float32(NOISE)
    random = np.random.default_rng(seed)
    rows, sources = np.empty((count, real.shape[1]), dtype=np.float32), np.empty(count, dtype=np.int64)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        own = random.integers(len(real), size=size)
        other = near[own, random.integers(NEAR, size=size)]
        share = random.uniform(0.5, 1, (size, 1)).astype(np.float32)
        noise = random.standard_normal((size, real.shape[1]), dtype=np.float32) @ colour.T
        made = share * real[own] + (1 - share) * real[other] + noise
        rows[start : start + size] = made / np.linalg.norm(made, axis=1, keepdims=True)
        sources[start : start + size] = own
    return rows, sources


def write_table(folder: Path, prompts: Sequence[str], categories: Sequence[str], seed: int = 0) -> None:
    """An outcome table of random scores: each expert is right with a chance of its own in each category."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    chances = random.uniform(0.2, 0.9, (len(set(categories)), len(EXPERTS)))
    of_category = np.unique(np.asarray(categories), return_inverse=True)[1]
    scores = (random.random((len(prompts), len(EXPERTS))) < chances[of_category]).astype(np.float32)
    uids = [str(row) for row in range(len(prompts))]
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"uid": uids, "category": list(categories), "prompt": list(prompts)}
    pq.write_table(pa.table(asked), folder / "prompts.parquet")
    columns = {name: scores[:, column] for column, name in enumerate(EXPERTS)}
    pq.write_table(pa.table({"uid": uids, **columns}), folder / "scores.parquet")
    cards = "".join(f"  - {{name: {name}, params_b: {size}}}\n" for name, size in EXPERTS.items())
    write_text(f"experts:\n{cards}", folder / "experts.yaml")
