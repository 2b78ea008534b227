"""Region-based joint search (arXiv 2407.00256): instruction and demos of each region, chosen together.

Each region compares prompts on its own demos. What goes beyond the paper: no demos, fewer demos, demos from
everywhere and those nearest to the request compete with the region's own; a demo that is asked is left out
of what is shown, so that all demos can be both; rounds of sequential halving spend the calls on prompts that
may still win; a region's estimates are drawn to those over all regions as far as regions do not really
differ, so that the luckiest of many prompts does not win on a handful of samples; added tokens must pay for
themselves; and the plain prompt competes to the end and keeps its place where nothing beats it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prompts.mixture.demo_sets import NO_DEMOS, DemoSet
from prompts.mixture.demos import Demo
from prompts.mixture.estimates import Scores, estimates
from prompts.mixture.examining import CHARS_PER_TOKEN, Examiner
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import Prompt
from prompts.mixture.plan import halvings, samples_by_round
from prompts.mixture.pool import DemoPool, MixtureError
from prompts.mixture.regions import Indices


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt as the search tells it apart: by its instruction and by the name of its set of demos."""

    instruction: str
    demo_set: str


PLAIN_CANDIDATE = Candidate("", NO_DEMOS.name)


@dataclass(frozen=True, slots=True)
class Found:
    """The prompt of a region and why: `estimate` is the accuracy expected of it, `plain_estimate` that of the
    plain prompt, both from `samples` demos of the region; `extra_tokens` what it adds to a request."""

    instruction: str
    demo_set: DemoSet
    samples: int
    estimate: float
    plain_estimate: float
    extra_tokens: float

    @property
    def plain(self) -> bool:
        """Whether requests of the region go out as they came."""
        return not (self.instruction or self.demo_set.count or self.demo_set.nearest)


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


async def region_based_joint_search(
    instructions: Sequence[str],
    sets: Sequence[Sequence[DemoSet]],
    samples: Sequence[Sequence[int]],
    pool: DemoPool,
    examiner: Examiner,
    boost: int = 1,
) -> tuple[list[Found], Prompt]:
    """The prompt of each region, and the instruction without demos that is best everywhere.

    `instructions` has the empty one among them; `sets` has each region's sets of demos (all regions have
    the same names), `samples` its demos by their indices in `pool`, which may be none: then what is best
    everywhere is taken; `boost` is that of the plan. A prompt that did not fit the context is out; raises
    MixtureError when not even the plain prompt ever fitted.
    """
    search = _Search(instructions, sets, samples, pool, examiner)
    sizes = halvings(len(search.candidates))
    after = [samples_by_round(len(each), len(sizes), boost) for each in samples]
    left = [search.different(region) for region in range(len(sets))]
    for number, size in enumerate(sizes):
        if number:
            left = [search.ranked(region, rows)[:size] for region, rows in enumerate(left)]
        what = f"joint search, round {number + 1} of {len(sizes)}"
        await search.ask(what, [(rows, count[number]) for rows, count in zip(left, after, strict=True)])
        if not search.fitted():
            raise MixtureError(
                "the model's context holds none of the demos' inputs: its context is too small"
            )
    found = [search.found(region, search.ranked(region, rows)[0]) for region, rows in enumerate(left)]
    return found, Prompt(search.best_everywhere(instructions))


class _Search:
    """What is known of candidates (rows) on all regions' samples (columns), region after region."""

    def __init__(
        self,
        instructions: Sequence[str],
        sets: Sequence[Sequence[DemoSet]],
        samples: Sequence[Sequence[int]],
        pool: DemoPool,
        examiner: Examiner,
    ) -> None:
        names = [each.name for each in sets[0]]
        self.candidates = [Candidate(each, name) for each in instructions for name in names]
        self._plain = self.candidates.index(PLAIN_CANDIDATE)
        self._sets = [{each.name: each for each in own} for own in sets]
        self._samples = samples
        self._starts = np.cumsum([0, *(len(each) for each in samples)])
        self._regions: Indices = np.repeat(np.arange(len(samples)), [len(each) for each in samples])
        self._pool = pool
        self._examiner = examiner
        self._config: BuildConfig = examiner.config
        shape = (len(self.candidates), len(self._regions))
        self._scores: Scores = np.full(shape, np.nan)
        """NaN where nobody asked."""
        self._tokens: Scores = np.full(shape, np.nan)
        """NaN also where the prompt did not fit."""
        self._estimates: Scores = np.zeros((len(self.candidates), len(samples)))

    async def ask(self, what: str, wanted: Sequence[tuple[Sequence[int], int]]) -> None:
        """Ask each region's candidates, and the plain prompt, what they were not asked yet of its first
        samples: so many. Calls under one prompt are neighbours."""
        cells = [
            (row, int(self._starts[region]) + place)
            for region, (rows, count) in enumerate(wanted)
            for row in sorted({*rows, self._plain})
            for place in range(count)
        ]
        new = [(row, column) for row, column in cells if np.isnan(self._scores[row, column])]
        trials = await self._examiner.trials(what, [self._question(*cell) for cell in new])
        for (row, column), trial in zip(new, trials, strict=True):
            # What did not fit counts as wrong: that is what would be answered.
            self._scores[row, column] = trial.score if trial else 0.0
            self._tokens[row, column] = trial.tokens if trial else np.nan
        self._estimates = estimates(
            self._scores,
            self._regions,
            len(self._samples),
            self._config.shrinkage,
            self._config.prior_samples,
        )

    def _question(self, row: int, column: int) -> tuple[Prompt, Demo]:
        region = int(self._regions[column])
        asked = self._samples[region][column - int(self._starts[region])]
        candidate = self.candidates[row]
        shown = self._sets[region][candidate.demo_set].shown_to(asked, self._pool)
        return Prompt(candidate.instruction, self._pool.pick(shown)), self._pool.demos[asked]

    def different(self, region: int) -> list[int]:
        """The candidates that are different prompts in a region: where sets were cut to the context, or the
        region is the whole, several names may stand for one prompt, of which the first is taken."""
        first: dict[tuple[str, tuple[int, ...], int], int] = {}
        for row, candidate in enumerate(self.candidates):
            shown = self._sets[region][candidate.demo_set]
            first.setdefault((candidate.instruction, shown.fixed, shown.nearest), row)
        return list(first.values())

    def fitted(self) -> bool:
        """Whether the plain prompt ever fitted the context."""
        return bool(np.isfinite(self._tokens[self._plain]).any())

    def ranked(self, region: int, rows: Sequence[int]) -> list[int]:
        """`rows` and the plain one by their value in a region, those that did not fit left out; of equals
        the plain one first, then that of fewer tokens, then the earlier."""
        values = {
            row: round(float(self._estimates[row, region]) - self._price(row, region), 9) for row in rows
        }
        values[self._plain] = round(float(self._estimates[self._plain, region]), 9)
        possible = [row for row in values if row == self._plain or self._fits(row, region)]
        return sorted(
            possible,
            key=lambda row: (-values[row], row != self._plain, round(self._extra(row, region), 6), row),
        )

    def found(self, region: int, row: int) -> Found:
        """What to say of the candidate `row`, chosen in a region."""
        candidate = self.candidates[row]
        asked = np.isfinite(self._scores[row, self._columns(region)])
        return Found(
            candidate.instruction,
            self._sets[region][candidate.demo_set],
            int(asked.sum()),
            float(np.clip(self._estimates[row, region], 0.0, 1.0)),
            float(np.clip(self._estimates[self._plain, region], 0.0, 1.0)),
            self._extra(row, region),
        )

    def best_everywhere(self, instructions: Sequence[str]) -> str:
        """The instruction of best value over all regions without demos, by the same rules."""
        sizes = np.asarray([len(each) for each in self._samples])

        def value(instruction: str) -> float:
            row = self.candidates.index(Candidate(instruction, NO_DEMOS.name))
            price = self._config.token_weight * len(instruction) / CHARS_PER_TOKEN / 1000
            return round(float(np.average(self._estimates[row], weights=sizes)) - price, 9)

        return min(instructions, key=lambda each: (-value(each), len(each), each))

    def _columns(self, region: int) -> slice:
        return slice(int(self._starts[region]), int(self._starts[region + 1]))

    def _extra(self, row: int, region: int) -> float:
        """What a candidate adds to the plain request's tokens: on this region's samples, or on all where it
        was asked none of them."""
        added = self._tokens[row] - self._tokens[self._plain]
        own = added[self._columns(region)]
        known = own if np.isfinite(own).any() else added
        return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0

    def _price(self, row: int, region: int) -> float:
        """Accuracy that the candidate must gain for its tokens. Tokens saved are no gain: a prompt has to
        answer better than none."""
        extra = max(0.0, self._extra(row, region))
        candidate = self.candidates[row]
        own = extra if self._sets[region][candidate.demo_set].nearest else 0.0
        shared = extra - own
        if own and candidate.instruction:
            shared = min(extra, len(candidate.instruction) / CHARS_PER_TOKEN)
            own = extra - shared
        return (self._config.token_weight * shared + self._config.own_token_weight * own) / 1000

    def _fits(self, row: int, region: int) -> bool:
        """Whether the candidate fitted wherever it was asked and the plain request fitted."""
        columns = self._columns(region)
        asked = np.isfinite(self._scores[row, columns])
        plain = np.isfinite(self._tokens[self._plain, columns])
        return bool((np.isfinite(self._tokens[row, columns]) | ~plain | ~asked).all())
