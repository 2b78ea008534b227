"""What a mixture is compared with, all behind one method: the messages for an input and its embedding.

Zero-shot, the best single instruction (in the manner of APE, arXiv 2211.01910, with as many calls as a
mixture took), few-shot with random demos and with the nearest ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prompts.mixture.call_budget import Ask, Asking, Bill, Progress
from prompts.mixture.demos import Demo, check_buildable, distinct
from prompts.mixture.examining import Examiner, answer_tokens
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import fingerprint, induction_call, usable
from prompts.mixture.layout import PLAIN, Layout, Prompt, lay_out
from prompts.mixture.mixture import Mixture, MixtureError, Vector
from prompts.mixture.plan import LEAST_DEMOS, split
from prompts.mixture.pool import DemoPool

SCREENED = 0.5
"""Share of the calls that induce and screen instructions; the best go on and share the rest."""


class Baseline(Protocol):
    """One way to prompt the model."""

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        """What to send for `input`, whose embedding is float32 (d,)."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPrompt:
    """The same prompt for every request: zero-shot, one instruction, or random demos."""

    prompt: Prompt = PLAIN
    layout: Layout = "turns"

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        return lay_out(self.prompt, _said(input), self.layout)


@dataclass(frozen=True, slots=True, eq=False)
class NearestDemos:
    """The `count` demos of the pool whose inputs are nearest, the nearest last.

    Where inputs share few demos, requests share no prefix: the price of this baseline.
    """

    pool: DemoPool
    count: int = 8
    layout: Layout = "turns"

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        shown = self.pool.pick(self.pool.nearest(embedding, self.count))
        return lay_out(Prompt(demos=shown), _said(input), self.layout)


@dataclass(frozen=True, slots=True, eq=False)
class MixturePrompt:
    """A mixture behind the same method."""

    mixture: Mixture

    def messages_for(self, input: str, embedding: Vector) -> list[dict[str, Any]]:
        return self.mixture.messages(self.mixture.choose(embedding), _said(input))


def zero_shot(layout: Layout = "turns") -> FixedPrompt:
    """The request as it is."""
    return FixedPrompt(PLAIN, layout)


def random_demos(demos: Sequence[Demo], count: int, seed: int, layout: Layout = "turns") -> FixedPrompt:
    """`count` demos drawn once by the seed, the same for every request."""
    chosen = np.random.default_rng(seed).permutation(len(demos))[:count]
    return FixedPrompt(Prompt(demos=tuple(demos[index] for index in chosen)), layout)


async def best_instruction(
    demos: Sequence[Demo],
    config: BuildConfig,
    ask: Ask,
    calls: int,
    *,
    progress: Progress | None = None,
) -> tuple[FixedPrompt, Bill]:
    """The best single instruction that at most `calls` calls find, and what it cost.

    Induced from the demos that a mixture of these demos and config is made of, and scored on them without
    demos. Half of the calls screen all instructions on a few of them, the rest compares the
    best of them on more. The empty instruction competes; of equals the shorter wins. Raises as `build`.
    """
    used = distinct(demos)
    check_buildable(used, LEAST_DEMOS)
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
    examiner = Examiner(config, asking, answer_tokens(used, config))
    means = await _means([""], screening, examiner)
    met = {fingerprint("")}
    asked = 0
    while (room := int(calls * SCREENED - asking.made) // (1 + len(screening))) > 0:
        queries = [induction_call(known, rng, number, config) for number in range(asked, asked + room)]
        asked += room
        answers = await asking.all("inducing instructions", queries)
        texts = [usable(answer.text, used, config) for answer in answers if answer is not None]
        new = {fingerprint(text): text for text in texts if text is not None}
        new = {mark: text for mark, text in new.items() if mark not in met}
        if not new:
            break
        met |= new.keys()
        means |= await _means(list(new.values()), screening, examiner)
    finalists = sorted(means, key=lambda each: (-means[each], len(each), each))
    if further and (room := (calls - asking.made) // further):
        finalists = list(dict.fromkeys([*finalists[: max(1, room - 1)], ""]))[:room]
        means = await _means(finalists, shuffled, examiner)
    best = min(finalists, key=lambda each: (-means[each], len(each), each))
    return FixedPrompt(Prompt(best), config.layout), asking.bill


async def _means(
    instructions: Sequence[str], samples: Sequence[Demo], examiner: Examiner
) -> dict[str, float]:
    asked = [(Prompt(instruction), demo) for instruction in instructions for demo in samples]
    trials = await examiner.trials("scoring instructions", asked)
    rows = (trials[start : start + len(samples)] for start in range(0, len(trials), len(samples)))
    return {
        instruction: round(sum(trial.score for trial in own if trial is not None) / len(own), 9)
        for instruction, own in zip(instructions, rows, strict=True)
    }


def _said(input: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": input}]
