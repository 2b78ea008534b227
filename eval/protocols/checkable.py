"""Checkable prompts (`eval.suite`) as a benchmark, scored by `eval.checks`; code runs in `eval.sandbox`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from eval.checks import Check, grade
from eval.engine.benchmark import AskedTurn, Marks, Question, first_of_each
from eval.engine.contestants import Contestant, ContestantAsker
from eval.sandbox import SandboxUnavailable
from eval.suite import CheckablePrompt, Suite

GRADERS = 2
"""Maximum concurrent checks that run code."""


def item_question(item: CheckablePrompt, *, sample: int = 0, greedy: bool = False) -> Question:
    """An item as a single-turn question, asked with the contestant's own sampling, or at temperature 0."""
    temperature = 0.0 if greedy else None
    return Question(item.id, item.category, (item.prompt,), temperature, item.max_tokens, sample)


class Grader:
    """Grades replies; at most `GRADERS` checks run code concurrently."""

    def __init__(self, *, allow_network_code: bool = False) -> None:
        self._allow_network_code = allow_network_code
        self._slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def mark(self, check: Check, reply: str) -> Marks:
        """The check's score; None if code execution is not allowed."""
        if check.kind != "python":
            found = grade(check, reply)
            return Marks(found.score, found.reason)
        loop = asyncio.get_running_loop()
        if self._slots is None or self._slots[0] is not loop:
            self._slots = (loop, asyncio.Semaphore(GRADERS))
        try:
            async with self._slots[1]:
                found = await asyncio.to_thread(
                    grade, check, reply, allow_network_code=self._allow_network_code
                )
        except SandboxUnavailable as error:
            return Marks(None, str(error))
        return Marks(found.score, found.reason)


class Checkable:
    """A suite as a benchmark: one turn with the contestant's own sampling, scored by its check."""

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
        self._grader = Grader(allow_network_code=allow_network_code)
        self.questions: Sequence[Question] = first_of_each([*map(item_question, suite.items)], limit)

    @property
    def digests(self) -> Mapping[str, str]:
        return {"suite": self._digest}

    def document(self) -> Mapping[str, Any]:
        return {"temperature": None, "allow_network_code": self._allow_network_code}

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        return await self._grader.mark(self._checks[question.id], turns[-1].reply.text)
