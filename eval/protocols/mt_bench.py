"""MT-Bench: each turn graded from 1 to 10, or compared with a baseline's answer in both orders."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from base.task_groups import together
from eval.engine.benchmark import AskedTurn, Marks, Question, converse, first_of_each
from eval.engine.contestants import Contestant, ContestantAsker
from eval.judging.games import Games, marks_of, play
from eval.judging.judge import Judge, Judgment
from eval.judging.judge_prompts import Kind, Scale
from eval.protocols.mt_bench_questions import NEED_REFERENCE, MtBenchData
from eval.rating.five_way_verdicts import Counts


class MtBench:
    """MT-Bench with its judges: pairwise against `opponent` if given, else graded."""

    name = "mt-bench"

    def __init__(
        self,
        data: MtBenchData,
        judges: Sequence[Judge],
        *,
        opponent: Contestant | None = None,
        seed: int | None = 0,
        limit: int | None = None,
    ) -> None:
        self._data = data
        self._judges = tuple(judges)
        self._opponent = opponent
        self._seed = seed
        self.questions: Sequence[Question] = first_of_each(data.questions, limit)
        kinds = {
            self._kind(self._texts(question, number), number)
            for question in self.questions
            for number in range(1, len(question.turns) + 1)
        }
        for judge in self._judges:
            judge.must_have(kinds)

    @property
    def digests(self) -> Mapping[str, str]:
        return self._data.digests

    def document(self) -> Mapping[str, Any]:
        return {
            "mode": "pairwise" if self._opponent else "single",
            "turns": max(len(each.turns) for each in self.questions),
            "max_tokens": self.questions[0].max_tokens,
            "judges": [each.document() for each in self._judges],
            "baseline": self._opponent.document() if self._opponent else None,
        }

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        if self._opponent is not None:
            return await self._compare(self._opponent, question, contestant, turns, asker)
        judgments = await together(
            self._grade(judge, question, turns, number, asker)
            for judge in self._judges
            for number in range(1, len(turns) + 1)
        )
        ratings = [each.rating for each in judgments if each.rating is not None]
        values = {}
        for number in range(1, len(turns) + 1):
            of_turn = [each.rating for each in judgments if each.turn == number and each.rating is not None]
            if of_turn:
                values[f"turn_{number}"] = sum(of_turn) / len(of_turn)
        unparsed = len(judgments) - len(ratings)
        return Marks(
            score=sum(ratings) / len(ratings) / 10 if ratings else None,
            reason=f"{unparsed} of {len(judgments)} judgments without a rating" if unparsed else "",
            values=values,
            verdicts=tuple(
                {
                    "question_id": question.id,
                    "model": contestant.name,
                    "turn": each.turn,
                    "score": each.rating,
                    "category": question.category,
                    "judge": each.judge,
                }
                for each in judgments
            ),
            judgments=tuple(each.document() for each in judgments),
            unparsed=unparsed,
        )

    async def _grade(
        self,
        judge: Judge,
        question: Question,
        turns: Sequence[AskedTurn],
        number: int,
        asker: ContestantAsker,
    ) -> Judgment:
        texts = self._texts(question, number)
        for turn, said in enumerate(turns[:number], start=1):
            texts[f"answer_a_{turn}"] = said.reply.text
        return await judge.judge(asker, self._kind(texts, number), texts, turn=number)

    async def _compare(
        self,
        opponent: Contestant,
        question: Question,
        contestant: Contestant,
        turns: Sequence[AskedTurn],
        asker: ContestantAsker,
    ) -> Marks:
        theirs = await converse(asker, opponent, question, seed=self._seed)
        ours_texts = [each.reply.text for each in turns]
        their_texts = [each.reply.text for each in theirs]

        def compare(judge: Judge, number: int) -> Coroutine[Any, Any, Games]:
            texts = self._texts(question, number)
            kind = self._kind(texts, number)
            return play(judge, asker, kind, texts, ours_texts[:number], their_texts[:number], turn=number)

        played = await together(
            compare(judge, number) for judge in self._judges for number in range(1, len(turns) + 1)
        )
        return marks_of(
            played,
            agreed,
            {"question_id": question.id, "model": contestant.name, "baseline": opponent.name},
            category=question.category,
            by_turn=True,
        )

    def _kind(self, texts: Mapping[str, str], number: int) -> Kind:
        scale = Scale.THREE if self._opponent else Scale.RATING
        return Kind(scale, reference="reference_1" in texts, second=number == 2)

    def _texts(self, question: Question, number: int) -> dict[str, str]:
        """Questions up to turn `number`, with reference answers in categories whose judges see them."""
        texts = {f"question_{turn}": text for turn, text in enumerate(question.turns[:number], start=1)}
        references = self._data.references.get(question.id, ())
        if question.category in NEED_REFERENCE and len(references) >= number:
            for turn, text in enumerate(references[:number], start=1):
                texts[f"reference_{turn}"] = text
        return texts


def agreed(games: Games) -> Counts:
    """MT-Bench's scoring: a win needs both games; inconsistent games are a tie."""
    first, second = games.outcomes(decisive_weight=1)
    return first if first == second else Counts(0, 1, 0)
