"""Candidate sets of demos: a region's own, representative ones of all regions, or the nearest to a
request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prompts.mixture.demos import are_labels
from prompts.mixture.layout import PLAIN, FewShotPrompt
from prompts.mixture.pool import DemoPool
from prompts.mixture.prompt_scoring import PromptScorer, upper_token_length
from prompts.mixture.regions import Indices

SUBSTITUTES = 3
"""Demos ranked per demo shown, as substitutes for a demo that is the input itself."""


@dataclass(frozen=True, slots=True)
class DemoSet:
    """The first `count` demos of `ranked`, the same for all requests, or the `nearest` of the pool to each;
    at most one of the two is above 0."""

    name: str
    ranked: tuple[int, ...] = ()
    count: int = 0
    nearest: int = 0

    @property
    def fixed(self) -> tuple[int, ...]:
        """The demos shown to all requests."""
        return self.ranked[: self.count]

    def shown_to(self, asked: int, pool: DemoPool) -> tuple[int, ...]:
        """The demos shown when the demo `asked` is the input: never itself or a near-duplicate. The next in
        rank is substituted, if possible of the same output, to keep the labels balanced."""
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
        """The longest demos that can be shown."""
        if self.nearest:
            return pool.longest(self.nearest)
        return pool.longest(self.count, self.ranked)


NO_DEMOS = DemoSet("none")


def demo_sets(regions: Sequence[Indices], pool: DemoPool, scorer: PromptScorer) -> list[tuple[DemoSet, ...]]:
    """The candidate sets of each region (given by its members), with the same names in all regions: none,
    shared, nearest and the region's own, in the configured sizes, reduced to what fits the context."""
    config = scorer.config
    sizes, numbers = sorted(set(config.demo_counts)), sorted(set(config.nearest_counts))
    count = config.shared_demos
    everywhere = [NO_DEMOS]
    if count:
        ranked = representative(np.arange(len(pool)), pool, SUBSTITUTES * count)
        everywhere.append(DemoSet(f"shared:{count}", ranked, min(count, len(ranked))))
    everywhere += [DemoSet(f"nearest:{number}", nearest=min(number, len(pool) - 1)) for number in numbers]
    everywhere = [_fitting(each, pool, scorer) for each in everywhere]
    found = []
    for members in regions:
        ranked = representative(members, pool, SUBSTITUTES * max(sizes, default=0))
        own = [DemoSet(f"region:{size}", ranked, min(size, len(ranked))) for size in sizes]
        found.append((*everywhere, *(_fitting(each, pool, scorer) for each in own)))
    return found


def representative(indices: Indices, pool: DemoPool, count: int) -> tuple[int, ...]:
    """The `count` most representative demos of `indices`: greedy facility location on cosine similarity, with
    labels in turn. Results for smaller `count` are prefixes of those for larger ones."""
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


def _fitting(shown: DemoSet, pool: DemoPool, scorer: PromptScorer) -> DemoSet:
    """`shown`, reduced until the longest instruction, demos and fitting input fit the context together."""
    inputs = [demo.input for demo in pool.demos if scorer.fits(PLAIN, demo.input)]
    longest = max(inputs, key=upper_token_length, default="")
    instruction = "x" * scorer.config.max_instruction_chars
    while shown.count or shown.nearest:
        prompts = (FewShotPrompt(instruction, pool.pick(each)) for each in shown.longest(pool))
        if all(scorer.fits(prompt, longest) for prompt in prompts):
            break
        shown = replace(shown, count=max(0, shown.count - 1), nearest=max(0, shown.nearest - 1))
    return shown
