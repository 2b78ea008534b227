"""Region-based joint search (arXiv 2407.00256) of instruction and demos for each region.

Beyond the paper: sets of no, fewer, shared and nearest demos compete too; the asked demo is excluded from the
shown ones, so that all demos serve both purposes; sequential halving; empirical-Bayes estimates across
regions (`estimates`) against the winner's curse; a price per added token; the plain prompt wins ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prompts.mixture.demo_sets import NO_DEMOS, DemoSet
from prompts.mixture.demos import Demo
from prompts.mixture.estimates import Scores, estimates
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import FewShotPrompt
from prompts.mixture.plan import halvings, samples_by_round
from prompts.mixture.pool import DemoPool, MixtureError
from prompts.mixture.prompt_scoring import CHARS_PER_TOKEN, PromptScorer
from prompts.mixture.regions import Indices


@dataclass(frozen=True, slots=True)
class PromptCandidate:
    """An instruction with the name of a set of demos."""

    instruction: str
    demo_set: str


PLAIN_CANDIDATE = PromptCandidate("", NO_DEMOS.name)


@dataclass(frozen=True, slots=True)
class RegionPrompt:
    """The chosen prompt of a region with its expected accuracy (`estimate`), that of the plain prompt, the
    number of `samples`, and the tokens it adds to a request."""

    instruction: str
    demo_set: DemoSet
    samples: int
    estimate: float
    plain_estimate: float
    extra_tokens: float

    @property
    def plain(self) -> bool:
        """Whether requests of the region are left unchanged."""
        return not (self.instruction or self.demo_set.count or self.demo_set.nearest)


async def best_instructions(
    candidates: Sequence[str], samples: Sequence[Demo], keep: int, scorer: PromptScorer
) -> tuple[str, ...]:
    """The `keep` candidates of best zero-shot mean on `samples`, best first, ties to the shorter; then the
    empty instruction."""
    means = await scorer.instruction_means(("", *candidates), samples)
    ranked = sorted(candidates, key=lambda each: (-means[each], len(each), each))
    return (*ranked[:keep], "")


async def region_based_joint_search(
    instructions: Sequence[str],
    sets: Sequence[Sequence[DemoSet]],
    samples: Sequence[Sequence[int]],
    pool: DemoPool,
    scorer: PromptScorer,
    boost: int = 1,
) -> tuple[list[RegionPrompt], FewShotPrompt]:
    """The prompt of each region, and the overall best instruction without demos.

    `instructions` includes the empty one; `sets`: candidate sets of demos per region (same names in all);
    `samples`: the regions' demos as indices into `pool`; `boost` from the plan. Prompts that did not fit the
    context are excluded; raises MixtureError when the plain prompt never fits.
    """
    search = _Search(instructions, sets, samples, pool, scorer)
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
    return found, FewShotPrompt(search.best_everywhere(instructions))


class _Search:
    """Scores and tokens of the candidates (rows) on all regions' samples (columns), region after region; NaN
    where not asked, tokens also where the prompt did not fit."""

    def __init__(
        self,
        instructions: Sequence[str],
        sets: Sequence[Sequence[DemoSet]],
        samples: Sequence[Sequence[int]],
        pool: DemoPool,
        scorer: PromptScorer,
    ) -> None:
        names = [each.name for each in sets[0]]
        self.candidates = [PromptCandidate(each, name) for each in instructions for name in names]
        self._plain = self.candidates.index(PLAIN_CANDIDATE)
        self._sets = [{each.name: each for each in own} for own in sets]
        self._samples = samples
        self._starts = np.cumsum([0, *(len(each) for each in samples)])
        self._regions: Indices = np.repeat(np.arange(len(samples)), [len(each) for each in samples])
        self._pool = pool
        self._scorer = scorer
        self._config: BuildConfig = scorer.config
        shape = (len(self.candidates), len(self._regions))
        self._scores: Scores = np.full(shape, np.nan)
        self._tokens: Scores = np.full(shape, np.nan)
        self._estimates: Scores = np.zeros((len(self.candidates), len(samples)))

    async def ask(self, what: str, wanted: Sequence[tuple[Sequence[int], int]]) -> None:
        """Ask each region's candidates and the plain prompt its first samples, of given number, unless asked
        before; calls of the same prompt are adjacent."""
        cells = [
            (row, int(self._starts[region]) + place)
            for region, (rows, count) in enumerate(wanted)
            for row in sorted({*rows, self._plain})
            for place in range(count)
        ]
        new = [(row, column) for row, column in cells if np.isnan(self._scores[row, column])]
        trials = await self._scorer.score(what, [self._question(*cell) for cell in new])
        for (row, column), trial in zip(new, trials, strict=True):
            # A prompt that did not fit counts as wrong.
            self._scores[row, column] = trial.score if trial else 0.0
            self._tokens[row, column] = trial.tokens if trial else np.nan
        count, config = len(self._samples), self._config
        self._estimates = estimates(
            self._scores, self._regions, count, config.shrinkage, config.prior_samples
        )

    def _question(self, row: int, column: int) -> tuple[FewShotPrompt, Demo]:
        region = int(self._regions[column])
        asked = self._samples[region][column - int(self._starts[region])]
        candidate = self.candidates[row]
        shown = self._sets[region][candidate.demo_set].shown_to(asked, self._pool)
        return FewShotPrompt(candidate.instruction, self._pool.pick(shown)), self._pool.demos[asked]

    def different(self, region: int) -> list[int]:
        """The distinct candidates of a region; reduced sets may coincide."""
        first: dict[tuple[str, tuple[int, ...], int], int] = {}
        for row, candidate in enumerate(self.candidates):
            shown = self._sets[region][candidate.demo_set]
            first.setdefault((candidate.instruction, shown.fixed, shown.nearest), row)
        return list(first.values())

    def fitted(self) -> bool:
        """Whether the plain prompt ever fitted."""
        return bool(np.isfinite(self._tokens[self._plain]).any())

    def ranked(self, region: int, rows: Sequence[int]) -> list[int]:
        """`rows` that fit, and the plain one, by value in a region; ties by plain, fewer tokens, order."""
        values = {
            row: round(float(self._estimates[row, region]) - self._price(row, region), 9) for row in rows
        }
        values[self._plain] = round(float(self._estimates[self._plain, region]), 9)
        possible = [row for row in values if row == self._plain or self._fits(row, region)]
        return sorted(
            possible,
            key=lambda row: (-values[row], row != self._plain, round(self._extra(row, region), 6), row),
        )

    def found(self, region: int, row: int) -> RegionPrompt:
        """The result for candidate `row` of a region."""
        candidate = self.candidates[row]
        asked = np.isfinite(self._scores[row, self._columns(region)])
        return RegionPrompt(
            candidate.instruction,
            self._sets[region][candidate.demo_set],
            int(asked.sum()),
            float(np.clip(self._estimates[row, region], 0.0, 1.0)),
            float(np.clip(self._estimates[self._plain, region], 0.0, 1.0)),
            self._extra(row, region),
        )

    def best_everywhere(self, instructions: Sequence[str]) -> str:
        """The instruction of best value over all regions without demos."""
        sizes = np.asarray([len(each) for each in self._samples])

        def value(instruction: str) -> float:
            row = self.candidates.index(PromptCandidate(instruction, NO_DEMOS.name))
            price = self._config.token_weight * len(instruction) / CHARS_PER_TOKEN / 1000
            return round(float(np.average(self._estimates[row], weights=sizes)) - price, 9)

        return min(instructions, key=lambda each: (-value(each), len(each), each))

    def _columns(self, region: int) -> slice:
        return slice(int(self._starts[region]), int(self._starts[region + 1]))

    def _extra(self, row: int, region: int) -> float:
        """Mean added tokens on the region's samples, or on all if none was asked."""
        added = self._tokens[row] - self._tokens[self._plain]
        own = added[self._columns(region)]
        known = own if np.isfinite(own).any() else added
        return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0

    def _price(self, row: int, region: int) -> float:
        """Accuracy that the candidate must gain for its added tokens; saved tokens do not count."""
        extra = max(0.0, self._extra(row, region))
        candidate = self.candidates[row]
        own = extra if self._sets[region][candidate.demo_set].nearest else 0.0
        shared = extra - own
        if own and candidate.instruction:
            shared = min(extra, len(candidate.instruction) / CHARS_PER_TOKEN)
            own = extra - shared
        return (self._config.token_weight * shared + self._config.own_token_weight * own) / 1000

    def _fits(self, row: int, region: int) -> bool:
        """Whether the candidate fitted wherever it was asked and the plain prompt fitted."""
        columns = self._columns(region)
        asked = np.isfinite(self._scores[row, columns])
        plain = np.isfinite(self._tokens[self._plain, columns])
        return bool((np.isfinite(self._tokens[row, columns]) | ~plain | ~asked).all())
