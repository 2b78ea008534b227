"""Judge-free scoring of MT-Bench's first turns in reasoning, mathematics and extraction, by our own checks
per `question_id`; not MT-Bench's protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from base.files import file_digest
from base.jsonl import read_rows
from eval.checks import CHECK, Check, grade
from eval.engine.benchmark import AskedTurn, Marks, Question, first_of_each
from eval.engine.contestants import Contestant, ContestantAsker
from eval.protocols.mt_bench_questions import MtBenchData

CHECKS = Path(__file__).with_name("mt_bench_checkable.jsonl")


def load_checks() -> dict[str, Check]:
    """The checks by question id."""
    return {str(row["question_id"]): CHECK.validate_python(row["check"]) for _, row in read_rows(CHECKS)}


class MtBenchExact:
    """The first turns that have a check, with MT-Bench's sampling, so that its stored answers are reused."""

    name = "mt-bench-exact"

    def __init__(self, data: MtBenchData, *, limit: int | None = None) -> None:
        self._checks = load_checks()
        questions = [
            replace(question, turns=question.turns[:1])
            for question in data.questions
            if question.id in self._checks
        ]
        self._digests = {**data.digests, "checks": file_digest(CHECKS)}
        self.questions: Sequence[Question] = first_of_each(questions, limit)

    @property
    def digests(self) -> Mapping[str, str]:
        return self._digests

    def document(self) -> Mapping[str, Any]:
        return {"turns": 1, "max_tokens": self.questions[0].max_tokens if self.questions else None}

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        found = grade(self._checks[question.id], turns[0].reply.text)
        return Marks(found.score, found.reason)
