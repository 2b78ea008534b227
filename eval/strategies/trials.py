"""Outcomes of strategies by prompt, and the choice among their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.strategies.answer_table import Answered, Floats, Ints
from routers.strategies.strategy_policy import Booleans


@dataclass(frozen=True, slots=True)
class StrategyOutcome:
    """Columns over prompts: `score` 0..1; sums over the experts that ran of `active` parameters (billions)
    and `price`; number of `calls`."""

    score: Floats
    active: Floats
    price: Floats
    calls: Floats

    @classmethod
    def of(cls, data: Answered, score: Floats, asked: Booleans) -> "StrategyOutcome":
        """From `score` (prompts,) and the experts `asked` (prompts, experts)."""
        ran = asked.astype(np.float64)
        return cls(score, ran @ data.sizes, ran @ data.prices, ran.sum(axis=1))

    def columns(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.score, self.active, self.price, self.calls

    @classmethod
    def joined(cls, parts: Sequence["StrategyOutcome"]) -> "StrategyOutcome":
        columns = zip(*(part.columns() for part in parts), strict=True)
        return cls(*(np.concatenate(each) for each in columns))


@dataclass(frozen=True, slots=True)
class StrategyTrial:
    """A setting of a strategy with its outcomes on the training and the held-out part; `by_category`:
    settings that differ by category."""

    settings: Mapping[str, Any]
    fitted: StrategyOutcome
    held_out: StrategyOutcome
    by_category: tuple[Mapping[str, Any], ...] = ()

    def settings_in(self, category: int) -> dict[str, Any]:
        """The settings for a category."""
        return {**self.settings, **(self.by_category[category] if self.by_category else {})}

    def document(self, categories: Sequence[str]) -> dict[str, Any]:
        """The settings, for JSON."""
        if not self.by_category:
            return dict(self.settings)
        named = {name: dict(each) for name, each in zip(categories, self.by_category, strict=True)}
        return {**self.settings, "by_category": named}


def best_within(trials: Sequence[StrategyTrial], budget_b: float) -> StrategyTrial | None:
    """The best trial on the training part within the average budget; ties go to the cheaper one. None if all
    exceed it."""
    able = [each for each in trials if each.fitted.active.mean() <= budget_b * (1 + 1e-9)]
    return max(able, key=lambda each: (each.fitted.score.mean(), -each.fitted.active.mean()), default=None)


def chosen_scores(data: Answered, choice: Ints, asked: Booleans) -> Floats:
    """The score of answer `choice` (prompts,); for -1 (no answer) the mean score of the asked experts."""
    worth = data.option_scores[np.arange(len(data)), np.maximum(choice, 0)]
    empty = np.where(asked, data.scores, 0).sum(axis=1) / np.maximum(asked.sum(axis=1), 1)
    return np.where(choice >= 0, worth, empty)
