"""Checkable prompts as a benchmark of the engine: exact answers, choices, numbers, JSON, rules, code.

The prompts and checks are `eval.suite` and `eval.checks`; code runs in `eval.sandbox`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from eval.checks import grade
from eval.engine.benchmark import Marks, Question, Turn, first_of_each
from eval.engine.contestants import Contestant, ContestantAsker
from eval.sandbox import SandboxUnavailable
from eval.suite import Suite

GRADERS = 2
"""Checks that run code at a time."""


class Checkable:
    """A suite as the engine runs it: temperature 0, one turn, the check's score."""

    def __init__(
        self,
        suite: Suite,
        *,
        name: str = "checkable",
        allow_network_code: bool = False,
        limit: int | None = None,
    ) -> None:
        self.name = name
        self._checks = {item.id: item.check for item in suite.items}
        self._digest = suite.digest
        self._allow_network_code = allow_network_code
        self._slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        questions = tuple(
            Question(item.id, item.category, (item.prompt,), max_tokens=item.max_tokens)
            for item in suite.items
        )
        self.questions: Sequence[Question] = first_of_each(questions, limit)

    @property
    def digests(self) -> Mapping[str, str]:
        return {"suite": self._digest}

    def document(self) -> Mapping[str, Any]:
        return {"temperature": 0.0, "allow_network_code": self._allow_network_code}

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[Turn], asker: ContestantAsker
    ) -> Marks:
        check = self._checks[question.id]
        reply = turns[-1].reply.text
        try:
            if check.kind == "python":
                async with self._graders():
                    found = await asyncio.to_thread(
                        grade, check, reply, allow_network_code=self._allow_network_code
                    )
            else:
                found = grade(check, reply)
        except SandboxUnavailable as error:
            return Marks(None, str(error))
        return Marks(found.score, found.reason)

    def _graders(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._slots is None or self._slots[0] is not loop:
            self._slots = (loop, asyncio.Semaphore(GRADERS))
        return self._slots[1]
