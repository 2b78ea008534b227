"""Pairwise judgments in both positions: the baseline's answer is first in game 1, the model's in game 2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.task_groups import together
from eval.engine.contestants import ContestantAsker
from eval.judging.judge import Judge, Judgment
from eval.judging.judge_prompts import Kind
from eval.rating.five_way_verdicts import Counts, outcome
from eval.rating.style import style_of


@dataclass(frozen=True, slots=True)
class Games:
    """The two judgments of one judge, in the order of the games."""

    first: Judgment
    second: Judgment

    @property
    def readable(self) -> bool:
        """Whether both were parsed."""
        return self.first.label is not None and self.second.label is not None

    def outcomes(self, decisive_weight: float) -> tuple[Counts, Counts]:
        """The model's counts of each game. Raises ValueError when one is unparsed."""
        return (
            outcome(self.first.label or "", model_is_a=False, decisive_weight=decisive_weight),
            outcome(self.second.label or "", model_is_a=True, decisive_weight=decisive_weight),
        )


async def play(
    judge: Judge,
    asker: ContestantAsker,
    kind: Kind,
    question: Mapping[str, str],
    model: Sequence[str],
    baseline: Sequence[str],
    *,
    category: str = "",
    turn: int = 1,
) -> Games:
    """Have `judge` compare the answers of `model` and `baseline` (one text per turn) in both positions;
    `question`: the prompt's other texts. Raises AskError and PromptFileError."""
    first, second = await together(
        judge.judge(asker, kind, {**question, **_sides(a, b)}, category=category, turn=turn, game=number)
        for number, (a, b) in enumerate(((baseline, model), (model, baseline)), start=1)
    )
    return Games(first, second)


def style_columns(model: str, baseline: str) -> dict[str, int]:
    """The style of both answers as columns of the verdict table."""
    ours, theirs = style_of(model), style_of(baseline)
    columns = {name: getattr(ours, name) for name in ("length", "headers", "lists", "bold")}
    return columns | {
        f"baseline_{name}": getattr(theirs, name) for name in ("length", "headers", "lists", "bold")
    }


def _sides(a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    return {
        f"answer_{side}_{number}": text
        for side, texts in (("a", a), ("b", b))
        for number, text in enumerate(texts, start=1)
    }
