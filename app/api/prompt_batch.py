"""The answer to several prompts of one request: each is asked by itself, the choices are numbered on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from app.api.answer_response import AnswerSource
from app.dialects.dialect import Dialect, Document, Presenter
from app.serving.answer_record import AnswerRecord
from base.task_groups import together
from base.usage import TokenUsage
from experts.expert_replies import END_OF_STREAM, StreamEvent


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One prompt: its record, and who answers it."""

    record: AnswerRecord
    source: AnswerSource


class PromptBatch:
    """An `AnswerSource` whose answers are in the client's dialect. The first part stands for all in the
    decision."""

    def __init__(self, parts: Sequence[PromptPart], dialect: Dialect, choices: int) -> None:
        """`choices`: of each prompt."""
        self._parts = parts
        self._dialect = dialect
        self._choices = choices

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """All answers at once."""
        answers = await together(self._whole(part) for part in self._parts)
        choices = [
            self._numbered(choice, number)
            for number, answer in enumerate(answers)
            for choice in answer["choices"]
        ]
        self._note(record)
        usage = {} if record.usage is None else {"usage": record.usage}
        first = {name: value for name, value in answers[0].items() if name != "usage"}
        return {**first, "choices": choices, **usage}

    async def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """One answer after the other."""
        envelope: Document = {}
        for number, part in enumerate(self._parts):
            async with aclosing(self._events(part)) as stream:
                async for chunk in stream:
                    envelope = envelope or {k: v for k, v in chunk.items() if k != "choices"}
                    choices = [self._numbered(choice, number) for choice in chunk["choices"]]
                    self._note(record)
                    yield [StreamEvent.of({**chunk, **envelope, "choices": choices})]
        self._note(record)
        yield [END_OF_STREAM]

    async def _whole(self, part: PromptPart) -> Document:
        answer = await part.source.whole(part.record)
        return self._presenter(part).whole(answer, {})

    async def _events(self, part: PromptPart) -> AsyncGenerator[Document]:
        """The chunks of one answer that have choices."""
        shows: Presenter | None = None
        async with aclosing(part.source.events(part.record)) as stream:
            async for events in stream:
                shows = shows or self._presenter(part)
                shown = shows.events([each for each in events if not each.done], None)
                if events and events[-1].done:
                    shown += shows.end(None, None)
                for event in shown:
                    if event.chunk is not None and event.chunk.get("choices"):
                        yield event.chunk

    def _presenter(self, part: PromptPart) -> Presenter:
        shows = self._dialect.native if part.record.native else self._dialect.presenter
        return shows(part.record.chat)

    def _numbered(self, choice: Document, number: int) -> Document:
        return {**choice, "index": number * self._choices + choice.get("index", 0)}

    def _note(self, record: AnswerRecord) -> None:
        """What became of the parts, in the record of the whole."""
        first = self._parts[0].record
        record.native = True  # the answers are in the client's dialect already
        record.decision, record.trace = first.decision, None
        record.context.used |= first.context.used
        told = [TokenUsage.of(part.record.usage) for part in self._parts]
        record.expert_usage = TokenUsage.sum(told).document()
