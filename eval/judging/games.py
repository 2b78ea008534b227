"""Pairwise judgments in both positions: the baseline's answer is first in game 1, the model's in game 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from base.task_groups import together
from eval.engine.benchmark import Marks
from eval.engine.contestants import ContestantAsker
from eval.judging.judge import Judge, Judgment
from eval.judging.judge_prompts import Kind
from eval.rating.five_way_verdicts import Counts, outcome
from eval.rating.style import style_of


@dataclass(frozen=True, slots=True)
class Games:
    """The two judgments of one judge, in the order of the games, about two answers to the same turn."""

    first: Judgment
    second: Judgment
    model: str
    baseline: str

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
    return Games(first, second, model[-1], baseline[-1])


def marks_of(
    played: Sequence[Games],
    counted: Callable[[Games], Counts],
    columns: Mapping[str, Any],
    *,
    category: str,
    by_turn: bool = False,
    values: Mapping[str, float] | None = None,
) -> Marks:
    """What all games about one conversation come to: the mean share of points, and a verdict for each pair.

    `counted` gives what a readable pair counts; `columns` are the first of the verdict table.
    """
    verdicts, shares = [], []
    for games in played:
        if not games.readable:
            continue
        counts = counted(games)
        shares.append((counts.win + counts.tie / 2) / sum(counts))
        verdicts.append(
            {
                **columns,
                **counts._asdict(),
                **({"turn": games.first.turn} if by_turn else {}),
                "category": category,
                "judge": games.first.judge,
                **style_columns(games.model, games.baseline),
            }
        )
    judgments = [each for games in played for each in (games.first, games.second)]
    unparsed = sum(not each.readable for each in judgments)
    return Marks(
        score=sum(shares) / len(shares) if shares else None,
        reason=f"{unparsed} of {len(judgments)} judgments without a verdict" if unparsed else "",
        values=values or {},
        verdicts=tuple(verdicts),
        judgments=tuple(each.document() for each in judgments),
        unparsed=unparsed,
    )


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
