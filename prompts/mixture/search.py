"""Region-based joint search (arXiv 2407.00256): instruction and demos of each region, chosen together.

Each region compares prompts on its own validation demos, with its own training demos. What goes beyond
the paper: a region's mean is drawn to the mean over all regions, so that the luckiest of many prompts does
not win on a handful of samples; added tokens must pay for themselves; the plain prompt competes and keeps
its place where nothing beats it; no demos, fewer demos, and demos from everywhere compete too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prompts.mixture.asking import Asking, Call, Completion
from prompts.mixture.config import BuildConfig
from prompts.mixture.demos import Demo, are_labels
from prompts.mixture.layout import PLAIN, Prompt, lay_out
from prompts.mixture.metrics import METRICS
from prompts.mixture.mixture import Matrix, MixtureError
from prompts.mixture.regions import Division, Indices

CHARS_PER_TOKEN = 4.0
"""Of English prose: where a server counts no tokens."""
CAUTIOUS_CHARS_PER_TOKEN = 2.5
"""Of code and figures: for what has to fit a context."""
TOKENS_PER_MESSAGE = 8
LEAST_ANSWER_ROOM = 256
"""Tokens of the context that a prompt leaves for the answer: who asks later may want more than a build."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt on one demo: 0 or 1, and the prompt's tokens."""

    score: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt as the search tells it apart: by its instruction and by which set of demos it shows."""

    instruction: str
    demo_set: str


@dataclass(frozen=True, slots=True)
class Found:
    """The prompt of a region and why: `estimate` is its drawn mean, `plain` that of the plain prompt,
    both on `samples` validation demos of the region; `extra_tokens` what it adds to a request."""

    prompt: Prompt
    demo_set: str
    samples: int
    estimate: float
    plain: float
    extra_tokens: float


NO_DEMOS = "none"


class Examiner:
    """Asks the model under a prompt and scores its answers."""

    def __init__(self, config: BuildConfig, asking: Asking, answer_tokens: int) -> None:
        self.config = config
        self.answer_tokens = answer_tokens
        self._asking = asking
        self._metric = METRICS[config.metric]
        self.heard = False
        """Whether the model ever answered anything."""

    def call(self, prompt: Prompt, demo: Demo) -> Call:
        """The question that `demo` is under `prompt`."""
        messages = lay_out(prompt, [{"role": "user", "content": demo.input}], self.config.layout)
        return Call(tuple(messages), self.answer_tokens, 0.0, self.config.seed)

    async def trials(self, stage: str, asked: Sequence[tuple[Prompt, Demo]]) -> list[Trial | None]:
        """One trial for each; None where the prompt did not fit the context."""
        answers = await self._asking.all(stage, [self.call(prompt, demo) for prompt, demo in asked])
        return [
            self._trial(prompt, demo, answer) for (prompt, demo), answer in zip(asked, answers, strict=True)
        ]

    def fits(self, prompt: Prompt, longest_input: int) -> bool:
        """Whether `prompt` and an input of `longest_input` characters should fit the model's context."""
        if self.config.context_tokens is None:
            return True
        added = lay_out(prompt, [{"role": "user", "content": "x" * longest_input}], self.config.layout)
        room = max(self.answer_tokens, LEAST_ANSWER_ROOM)
        return _estimate(added, CAUTIOUS_CHARS_PER_TOKEN) + room <= self.config.context_tokens

    def _trial(self, prompt: Prompt, demo: Demo, answer: Completion | None) -> Trial | None:
        if answer is None:
            return None
        self.heard = self.heard or bool(answer.text.strip())
        tokens = float(answer.prompt_tokens or _estimate(self.call(prompt, demo).messages))
        return Trial(self._metric(answer.text, demo.output), tokens)


def _estimate(messages: Sequence[Mapping[str, str]], chars_per_token: float = CHARS_PER_TOKEN) -> int:
    return sum(TOKENS_PER_MESSAGE + round(len(each["content"]) / chars_per_token) for each in messages)


def answer_tokens(demos: Sequence[Demo], config: BuildConfig) -> int:
    """Tokens that the longest output needs, generously: characters of rare words make many tokens."""
    if config.answer_tokens is not None:
        return config.answer_tokens
    return 16 + round(max(len(demo.output) for demo in demos) / 2.5)


async def best_instructions(
    candidates: Sequence[str], samples: Sequence[Demo], keep: int, examiner: Examiner
) -> tuple[str, ...]:
    """The `keep` candidates of best mean on `samples`, without demos, best first; of equals the shorter.
    The empty instruction, last, is always among them."""
    asked = [(Prompt(instruction), demo) for instruction in ("", *candidates) for demo in samples]
    trials = await examiner.trials("scoring instructions", asked)
    means = {}
    for row, instruction in enumerate(("", *candidates)):
        own = trials[row * len(samples) : (row + 1) * len(samples)]
        means[instruction] = sum(trial.score for trial in own if trial is not None) / len(own)
    ranked = sorted(candidates, key=lambda each: (-round(means[each], 9), len(each), each))
    return (*ranked[:keep], "")


def representative(indices: Indices, embeddings: Matrix, demos: Sequence[Demo], count: int) -> list[int]:
    """`count` of the demos at `indices` that stand best for all of them: greedy facility location over
    cosines. Labels take turns, so that no answer is missing. The first of `count` are the same for every
    larger `count`, so that longer prompts begin like shorter ones."""
    if not len(indices):
        return []
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


async def region_based_joint_search(
    instructions: Sequence[str],
    sets: Sequence[Mapping[str, tuple[Demo, ...]]],
    samples: Sequence[Sequence[Demo]],
    examiner: Examiner,
) -> tuple[list[Found], Prompt]:
    """The prompt of each region, and the instruction without demos that is best everywhere.

    `sets` has each region's sets of demos (all regions have the same names), `samples` its validation
    demos, which may be none: then what is best everywhere is taken. A prompt that did not fit the context
    is out; raises MixtureError when not even the plain prompt ever fitted.
    """
    candidates = [Candidate(each, name) for each in instructions for name in sets[0]]
    plain = Candidate(PLAIN.instruction, NO_DEMOS)
    asked = [
        (region, candidate, Prompt(candidate.instruction, sets[region][candidate.demo_set]), demo)
        for region in range(len(sets))
        for candidate in candidates
        for demo in samples[region]
    ]
    trials = await examiner.trials("joint search", [(prompt, demo) for _, _, prompt, demo in asked])
    by: dict[tuple[int, Candidate], list[Trial | None]] = {}
    for (region, candidate, _, _), trial in zip(asked, trials, strict=True):
        by.setdefault((region, candidate), []).append(trial)
    if all(trial is None for (_, candidate), own in by.items() if candidate == plain for trial in own):
        raise MixtureError("the model's context holds none of the demos' inputs: its context is too small")
    table = _Table(by, candidates, plain, len(sets), examiner.config)
    found = [table.best(region, sets[region]) for region in range(len(sets))]
    return found, Prompt(table.best_everywhere(instructions))


class _Table:
    """Means of candidates, by region and over all regions."""

    def __init__(
        self,
        by: Mapping[tuple[int, Candidate], Sequence[Trial | None]],
        candidates: Sequence[Candidate],
        plain: Candidate,
        regions: int,
        config: BuildConfig,
    ) -> None:
        self._by = by
        self._candidates = candidates
        self._plain = plain
        self._config = config
        self._everywhere = {
            each: [trial for region in range(regions) for trial in by.get((region, each), ())]
            for each in candidates
        }

    def best(self, region: int, sets: Mapping[str, tuple[Demo, ...]]) -> Found:
        """The candidate of best value; of equals the one of fewer tokens, then the earlier."""
        base = self._estimate(region, self._plain)
        ranked = []
        for order, candidate in enumerate(self._candidates):
            if candidate != self._plain and self._unfit(region, candidate):
                continue
            extra = self._extra_tokens(region, candidate)
            value = self._estimate(region, candidate) - self._config.token_weight * extra / 1000
            ranked.append((-round(value, 9), round(extra, 6), order, candidate, extra))
        _, _, _, chosen, extra = min(ranked, key=lambda each: each[:3])
        if not self._gains(region, chosen, extra, base):
            chosen, extra = self._plain, 0.0
        prompt = Prompt(chosen.instruction, sets[chosen.demo_set])
        samples = len(self._by.get((region, chosen), ()))
        return Found(prompt, chosen.demo_set, samples, self._estimate(region, chosen), base, extra)

    def best_everywhere(self, instructions: Sequence[str]) -> str:
        """The instruction of best mean over all regions without demos, by the same rules."""
        base = _mean(self._everywhere[self._plain])
        best, gained = "", 0.0
        for instruction in instructions:
            candidate = Candidate(instruction, NO_DEMOS)
            price = self._config.token_weight * len(instruction) / CHARS_PER_TOKEN / 1000
            gain = _mean(self._everywhere[candidate]) - base - price
            if round(gain, 9) > round(gained, 9):
                best, gained = instruction, gain
        return best

    def _estimate(self, region: int, candidate: Candidate) -> float:
        own = self._by.get((region, candidate), ())
        total = sum(trial.score for trial in own if trial is not None)
        drawn = self._config.shrinkage * _mean(self._everywhere[candidate])
        weight = len(own) + self._config.shrinkage
        return (total + drawn) / weight if weight else 0.0

    def _extra_tokens(self, region: int, candidate: Candidate) -> float:
        """What the candidate adds to the plain request's tokens: measured on this region's samples, or on
        all where it has none."""
        own = self._by.get((region, candidate)) or self._everywhere[candidate]
        plain = self._by.get((region, self._plain)) or self._everywhere[self._plain]
        pairs = [(a, b) for a, b in zip(own, plain, strict=True) if a is not None and b is not None]
        return sum(a.tokens - b.tokens for a, b in pairs) / len(pairs) if pairs else 0.0

    def _unfit(self, region: int, candidate: Candidate) -> bool:
        """Whether the plain request fitted somewhere where this one did not."""
        own = self._by.get((region, candidate), ())
        plain = self._by.get((region, self._plain), ())
        return any(a is None and b is not None for a, b in zip(own, plain, strict=True))

    def _gains(self, region: int, candidate: Candidate, extra: float, base: float) -> bool:
        gain = self._estimate(region, candidate) - base - self._config.token_weight * extra / 1000
        return round(gain, 9) > 0


def _mean(trials: Sequence[Trial | None]) -> float:
    """Mean score; what did not fit counts as wrong."""
    return sum(trial.score for trial in trials if trial is not None) / len(trials) if trials else 0.0
