"""What a strategy did on each prompt, and the choice among its settings by what they did when fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.strategies.answer_table import Answered, Floats, Ints
from eval.strategies.voting import Booleans


@dataclass(frozen=True, slots=True)
class Outcome:
    """Columns over prompts: `score` 0..1, `active` billions of parameters and `price` of every expert
    that ran, number of `calls`."""

    score: Floats
    active: Floats
    price: Floats
    calls: Floats

    @classmethod
    def of(cls, data: Answered, score: Floats, asked: Booleans) -> "Outcome":
        """From the `score` of the answer given and the experts `asked` (prompts, experts)."""
        ran = asked.astype(np.float64)
        return cls(score, ran @ data.sizes, ran @ data.prices, ran.sum(axis=1))

    def columns(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.score, self.active, self.price, self.calls

    @classmethod
    def joined(cls, parts: Sequence["Outcome"]) -> "Outcome":
        columns = zip(*(part.columns() for part in parts), strict=True)
        return cls(*(np.concatenate(each) for each in columns))


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of a strategy: what it did on the part that it was fitted on, and on the other.

    `by_category` has further settings for each category, where they differ.
    """

    settings: Mapping[str, Any]
    fitted: Outcome
    held_out: Outcome
    by_category: tuple[Mapping[str, Any], ...] = ()

    def settings_in(self, category: int) -> dict[str, Any]:
        """All settings that count in a category."""
        return {**self.settings, **(self.by_category[category] if self.by_category else {})}

    def document(self, categories: Sequence[str]) -> dict[str, Any]:
        """The settings, for JSON."""
        if not self.by_category:
            return dict(self.settings)
        named = {name: dict(each) for name, each in zip(categories, self.by_category, strict=True)}
        return {**self.settings, "by_category": named}


def best_within(trials: Sequence[Trial], budget_b: float) -> Trial | None:
    """The trial that scored best where it was fitted, of those that took at most `budget_b` there on
    average; the cheaper of equals. None when all took more."""
    able = [each for each in trials if each.fitted.active.mean() <= budget_b * (1 + 1e-9)]
    return max(able, key=lambda each: (each.fitted.score.mean(), -each.fitted.active.mean()), default=None)


def chosen_scores(data: Answered, choice: Ints, asked: Booleans) -> Floats:
    """The worth of answer number `choice` (prompts,) of each prompt; where it is -1, as nobody answered,
    the mean score of those who were asked."""
    worth = data.option_scores[np.arange(len(data)), np.maximum(choice, 0)]
    empty = np.where(asked, data.scores, 0).sum(axis=1) / np.maximum(asked.sum(axis=1), 1)
    return np.where(choice >= 0, worth, empty)
