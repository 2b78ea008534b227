"""Which demos a prompt may show: a region's own, some from everywhere, or those nearest to the request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prompts.mixture.demos import are_labels
from prompts.mixture.examining import Examiner, cautious_length
from prompts.mixture.layout import PLAIN, Prompt
from prompts.mixture.pool import DemoPool
from prompts.mixture.regions import Indices

SUBSTITUTES = 3
"""Demos ranked for each that is shown: one stands in for a demo that is asked itself."""


@dataclass(frozen=True, slots=True)
class DemoSet:
    """Demos of a pool that a prompt shows, as a rule: `count` of those `ranked`, the same for all requests,
    or the `nearest` of the pool to each. At most one of both is above 0."""

    name: str
    ranked: tuple[int, ...] = ()
    count: int = 0
    nearest: int = 0

    @property
    def fixed(self) -> tuple[int, ...]:
        """The demos that all requests are shown."""
        return self.ranked[: self.count]

    def shown_to(self, asked: int, pool: DemoPool) -> tuple[int, ...]:
        """What the demo `asked` of the pool is shown: never itself, nor a twin of it. Where such a one is
        among the fixed, the next in rank takes its place, of the same output if there is one, so that labels
        stay in balance."""
        twins = pool.twins(asked)
        if self.nearest:
            return pool.nearest(pool.embeddings[asked], self.nearest, twins)
        shown = list(self.fixed)
        spare = [index for index in self.ranked[self.count :] if index not in twins]
        for place in [place for place, index in enumerate(shown) if index in twins]:
            output = pool.demos[shown[place]].output.strip()
            instead = next((each for each in spare if pool.demos[each].output.strip() == output), None)
            instead = instead if instead is not None else next(iter(spare), None)
            if instead is not None:
                spare.remove(instead)
                shown[place] = instead
        return tuple(index for index in shown if index not in twins)

    def longest(self, pool: DemoPool) -> list[tuple[int, ...]]:
        """What it can come to at most: of the whole pool where the nearest are shown, else of the ranked."""
        if self.nearest:
            return pool.longest(self.nearest)
        return pool.longest(self.count, self.ranked)


NO_DEMOS = DemoSet("none")


def demo_sets(regions: Sequence[Indices], pool: DemoPool, examiner: Examiner) -> list[tuple[DemoSet, ...]]:
    """The sets that compete in each of `regions`, which are given by their members: none, its own by size,
    one from everywhere, the nearest by number. All regions have sets of the same names. A set that would
    not fit the context is cut to what fits."""
    config = examiner.config
    sizes, numbers = sorted(set(config.demo_counts)), sorted(set(config.nearest_counts))
    count = config.shared_demos
    everywhere = [NO_DEMOS]
    if count:
        ranked = representative(np.arange(len(pool)), pool, SUBSTITUTES * count)
        everywhere.append(DemoSet(f"shared:{count}", ranked, min(count, len(ranked))))
    everywhere += [DemoSet(f"nearest:{number}", nearest=min(number, len(pool) - 1)) for number in numbers]
    everywhere = [_fitting(each, pool, examiner) for each in everywhere]
    found = []
    for members in regions:
        ranked = representative(members, pool, SUBSTITUTES * max(sizes, default=0))
        own = [DemoSet(f"region:{size}", ranked, min(size, len(ranked))) for size in sizes]
        found.append((*everywhere, *(_fitting(each, pool, examiner) for each in own)))
    return found


def representative(indices: Indices, pool: DemoPool, count: int) -> tuple[int, ...]:
    """`count` of the demos at `indices` that stand best for all of them: greedy facility location over
    cosines. Labels take turns, so that no answer is missing. The first of `count` are the same for every
    larger `count`, so that longer prompts begin like shorter ones."""
    if not len(indices):
        return ()
    vectors = np.asarray(pool.embeddings[indices], dtype=np.float64)
    likeness = np.clip(vectors @ vectors.T, 0.0, None)
    covered = np.zeros(len(indices))
    outputs = [pool.demos[index].output.strip() for index in indices]
    labels = outputs if are_labels(pool.demos) else [""] * len(indices)
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
    return tuple(int(indices[each]) for each in chosen)


def _fitting(shown: DemoSet, pool: DemoPool, examiner: Examiner) -> DemoSet:
    """`shown`, cut until an instruction and the longest demos that it can come to fit beside the longest
    input that fits by itself."""
    inputs = [demo.input for demo in pool.demos if examiner.fits(PLAIN, demo.input)]
    longest = max(inputs, key=cautious_length, default="")
    instruction = "x" * examiner.config.max_instruction_chars
    while shown.count or shown.nearest:
        prompts = (Prompt(instruction, pool.pick(each)) for each in shown.longest(pool))
        if all(examiner.fits(prompt, longest) for prompt in prompts):
            break
        shown = replace(shown, count=max(0, shown.count - 1), nearest=max(0, shown.nearest - 1))
    return shown
