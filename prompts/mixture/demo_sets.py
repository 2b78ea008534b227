"""Which demos a prompt may show: few that stand for many, a region's own or some from everywhere."""

from collections.abc import Sequence

import numpy as np

from prompts.mixture.demos import Demo, are_labels
from prompts.mixture.examining import Examiner
from prompts.mixture.layout import Prompt
from prompts.mixture.mixture import Matrix
from prompts.mixture.regions import Division, Indices

MOST_COMPARED = 1000
"""Demos, spread evenly, that representatives are sought among: likeness is a matrix of their square."""
NO_DEMOS = "none"
"""The set that is empty."""


def representative(indices: Indices, embeddings: Matrix, demos: Sequence[Demo], count: int) -> list[int]:
    """`count` of the demos at `indices` that stand best for all of them: greedy facility location over
    cosines. Labels take turns, so that no answer is missing. The first of `count` are the same for every
    larger `count`, so that longer prompts begin like shorter ones."""
    if not len(indices):
        return []
    if len(indices) > MOST_COMPARED:
        indices = indices[np.linspace(0, len(indices) - 1, MOST_COMPARED).astype(np.intp)]
    vectors = np.asarray(embeddings[indices], dtype=np.float64)
    likeness = np.clip(vectors @ vectors.T, 0.0, None)
    covered = np.zeros(len(indices))
    labels = [demos[index].output.strip() for index in indices] if are_labels(demos) else [""] * len(indices)
    shown: dict[str, int] = dict.fromkeys(labels, 0)
    chosen: list[int] = []
    left = list(range(len(indices)))
    while left and len(chosen) < count:
        fewest = min(shown[labels[each]] for each in left)
        open_now = [each for each in left if shown[labels[each]] == fewest]
        gains = np.maximum(likeness[open_now], covered).sum(axis=1)
        best = open_now[int(np.round(gains, 9).argmax())]
        covered = np.maximum(covered, likeness[best])
        shown[labels[best]] += 1
        chosen.append(best)
        left.remove(best)
    return [int(indices[each]) for each in chosen]


def demo_sets(
    region: int,
    demos: Sequence[Demo],
    train: Indices,
    division: Division,
    embeddings: Matrix,
    examiner: Examiner,
) -> dict[str, tuple[Demo, ...]]:
    """The sets of demos that compete in a region, by name: none, its own by size, one from everywhere.
    A set that would not fit the context is cut to what fits; equal sets stand under several names."""
    config = examiner.config
    own = representative(
        np.intersect1d(train, division.members(region)), embeddings, demos, max(config.demo_counts, default=0)
    )
    shared = representative(train, embeddings, demos, config.shared_demos)
    sets = {f"region:{count}": own[:count] for count in sorted(set(config.demo_counts))}
    if config.shared_demos:
        sets[f"shared:{config.shared_demos}"] = shared
    longest = max(len(demo.input) for demo in demos)
    fitting = {NO_DEMOS: ()} | {
        name: _fitting(tuple(demos[index] for index in indices), longest, examiner)
        for name, indices in sets.items()
    }
    return fitting


def _fitting(shown: tuple[Demo, ...], longest: int, examiner: Examiner) -> tuple[Demo, ...]:
    room = examiner.config.max_instruction_chars
    while shown and not examiner.fits(Prompt("x" * room, shown), longest):
        shown = shown[:-1]
    return shown
