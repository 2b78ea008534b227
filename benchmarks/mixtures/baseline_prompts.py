"""Baselines of a mixture: zero-shot, the best single instruction (APE, arXiv 2211.01910), few-shot with
random and with nearest demos."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prompts.mixture.call_budget import Ask, Asking, Bill, Progress
from prompts.mixture.demos import Demo, check_buildable, distinct
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import induction_call, normalised_words, usable
from prompts.mixture.layout import PLAIN, FewShotPrompt, Layout, lay_out
from prompts.mixture.mixture import Mixture, MixtureError, Vector
from prompts.mixture.plan import MIN_DEMOS, split
from prompts.mixture.pool import DemoPool
from prompts.mixture.prompt_scoring import PromptScorer, answer_tokens

SCREENED = 0.5
"""Share of the calls for inducing and screening instructions; the rest compares the best."""


class PromptBaseline(Protocol):
    """One way to prompt the model."""

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        """What to send for `input`, whose embedding is float32 (d,)."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPrompt:
    """The same prompt for every request."""

    prompt: FewShotPrompt = PLAIN
    layout: Layout = "turns"

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        return lay_out(self.prompt, _said(input), self.layout)


@dataclass(frozen=True, slots=True, eq=False)
class NearestDemos:
    """The `count` demos of the pool whose inputs are nearest, the nearest last (no shared prefix)."""

    pool: DemoPool
    count: int = 8
    layout: Layout = "turns"

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        shown = self.pool.pick(self.pool.nearest(embedding, self.count))
        return lay_out(FewShotPrompt(demos=shown), _said(input), self.layout)


@dataclass(frozen=True, slots=True, eq=False)
class MixturePrompt:
    """A mixture as a PromptBaseline."""

    mixture: Mixture

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        return self.mixture.messages(self.mixture.choose(embedding), _said(input))


def zero_shot(layout: Layout = "turns") -> FixedPrompt:
    """The request alone."""
    return FixedPrompt(PLAIN, layout)


def random_demos(demos: Sequence[Demo], count: int, seed: int, layout: Layout = "turns") -> FixedPrompt:
    """`count` demos drawn once with the seed."""
    chosen = np.random.default_rng(seed).permutation(len(demos))[:count]
    return FixedPrompt(FewShotPrompt(demos=tuple(demos[index] for index in chosen)), layout)


async def best_instruction(
    demos: Sequence[Demo],
    config: BuildConfig,
    ask: Ask,
    calls: int,
    *,
    progress: Progress | None = None,
) -> tuple[FixedPrompt, Bill]:
    """The best single instruction that at most `calls` calls find, and what it cost.

    Induced from and scored on the demos that `build` uses. Half of the calls screen all instructions on a few
    demos, the rest compares the best, and the empty one, on all; ties go to the shorter. Raises as `build`.
    """
    used = distinct(demos)
    check_buildable(used, MIN_DEMOS)
    parts = split(len(used), config)
    rng = np.random.default_rng(config.seed)
    known = [used[index] for index in parts.known]
    shuffled = [used[index] for index in rng.permutation(parts.known)]
    screening = shuffled[: config.scoring_samples]
    further = len(shuffled) - len(screening)
    if calls < 2 * (1 + 2 * len(screening)):
        raise MixtureError(
            f"{calls} calls are too few: {2 * (1 + 2 * len(screening))} compare one instruction"
        )
    asking = Asking(ask, concurrency=config.concurrency, max_calls=calls, progress=progress)
    scorer = PromptScorer(config, asking, answer_tokens(used, config))
    means = await scorer.instruction_means([""], screening)
    met = {normalised_words("")}
    asked = 0
    while (room := int(calls * SCREENED - asking.made) // (1 + len(screening))) > 0:
        queries = [induction_call(known, rng, number, config) for number in range(asked, asked + room)]
        asked += room
        answers = await asking.all("inducing instructions", queries)
        texts = [usable(answer.text, used, config) for answer in answers if answer is not None]
        new = {normalised_words(text): text for text in texts if text is not None}
        new = {mark: text for mark, text in new.items() if mark not in met}
        if not new:
            break
        met |= new.keys()
        means |= await scorer.instruction_means(list(new.values()), screening)
    finalists = sorted(means, key=lambda each: (-means[each], len(each), each))
    if further and (room := (calls - asking.made) // further):
        finalists = list(dict.fromkeys([*finalists[: max(1, room - 1)], ""]))[:room]
        means = await scorer.instruction_means(finalists, shuffled)
    best = min(finalists, key=lambda each: (-means[each], len(each), each))
    return FixedPrompt(FewShotPrompt(best), config.layout), asking.bill


def _said(input: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": input}]
