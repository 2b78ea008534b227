"""Arena-Hard: two games with swapped positions, five-way verdicts, `>>` with weight 3."""

from collections.abc import Mapping, Sequence
from typing import Any

from base.phrases import words
from base.task_groups import together
from eval.engine.benchmark import AskedTurn, Marks, Question, converse, first_of_each
from eval.engine.contestants import Contestant, ContestantAsker
from eval.judging.games import Games, marks_of, play
from eval.judging.judge import Judge
from eval.judging.judge_prompts import Kind, Scale
from eval.protocols.arena_hard_questions import ArenaHardData
from eval.rating.five_way_verdicts import DECISIVE_WEIGHT, Counts


class ArenaHard:
    """Arena-Hard with its judges. `baselines`: contestants by the baseline names of the data; `everywhere`:
    one of them for every question."""

    def __init__(
        self,
        data: ArenaHardData,
        judges: Sequence[Judge],
        baselines: Mapping[str, Contestant],
        *,
        name: str = "arena-hard",
        everywhere: str | None = None,
        limit: int | None = None,
        seed: int | None = 0,
    ) -> None:
        self.name = name
        self._data = data
        self._judges = tuple(judges)
        self._baselines = dict(baselines)
        self._everywhere = everywhere
        self._seed = seed
        self.questions: Sequence[Question] = first_of_each(data.questions, limit)
        for judge in self._judges:
            judge.must_have([Kind(Scale.FIVE)])

    @property
    def digests(self) -> Mapping[str, str]:
        return self._data.digests

    def document(self) -> Mapping[str, Any]:
        return {
            "mode": "pairwise",
            "decisive_weight": DECISIVE_WEIGHT,
            "max_tokens": self.questions[0].max_tokens,
            "judges": [each.document() for each in self._judges],
            "baselines": [each.document() for each in self._baselines.values()],
        }

    def baseline_of(self, question: Question) -> Contestant:
        """The baseline of `question`."""
        return self._baselines[self._everywhere or self._data.baselines[question.id]]

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        baseline = self.baseline_of(question)
        theirs = await converse(asker, baseline, question, seed=self._seed)
        ours_text, their_text = turns[-1].reply.text, theirs[-1].reply.text
        played = await together(
            play(
                judge,
                asker,
                Kind(Scale.FIVE),
                {"question_1": question.turns[0]},
                [ours_text],
                [their_text],
                category=question.category,
            )
            for judge in self._judges
        )
        return marks_of(
            played,
            both_games,
            {"question_id": question.id, "model": contestant.name, "baseline": baseline.name},
            category=question.category,
            values={"baseline_words": float(len(words(their_text)))},
        )


def both_games(games: Games) -> Counts:
    """Arena-Hard's scoring: both games count, `>>` with weight 3."""
    first, second = games.outcomes(DECISIVE_WEIGHT)
    return first.plus(second)
