"""The request bodies that one expert is sent in turn until its server accepts one.

The first has the whole prompt in front. After a refusal the next has a shorter one, or a smaller cap on the
answer. Knows nothing of how prompts are chosen, nor of other experts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.serving.cap_clipping import CapClipping
from app.serving.request_context import PromptUse, RequestContext
from experts.errors import ContextTooLong, ExpertRejected
from experts.expert import DialectName, Expert

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PromptedBody:
    """A request body with the expert's prompt in front. `use` is what the decision record says of the prompt;
    `added` is an upper estimate of its tokens."""

    body: Body
    use: PromptUse | None
    added: int = 0

    def note(self, expert: Expert, context: RequestContext) -> None:
        if self.use is not None:
            context.used[expert.name] = self.use


class ExpertAttempts:
    """The request bodies for one expert, in the order in which they are tried."""

    def __init__(
        self, caps: CapClipping, expert: Expert, context: RequestContext, dialect: DialectName
    ) -> None:
        self._caps = caps
        self._expert = expert
        self._context = context
        self._dialect = dialect
        self._bodies: list[PromptedBody] = []
        self._recapped = False
        self.body: Body = {}
        """What to ask with now."""

    @property
    def chat(self) -> Body:
        """The present body in chat's form."""
        if self._dialect == "chat":
            return self.body
        return self._context.chat or {"messages": []}

    async def begin(self, bodies: list[PromptedBody]) -> None:
        """Take the first of `bodies`."""
        self._bodies = bodies
        await self._next()

    async def after_refusal(self, error: ExpertRejected) -> bool:
        """Take the next body after a refusal; False when there is none that could do better."""
        if not self._recapped:
            self._recapped = True
            smaller = await self._caps.after(error, self._expert, self.body, self.chat, self._dialect)
            if smaller is not None:
                self.body = smaller
                return True
        if not self._bodies or not isinstance(error, ContextTooLong):
            return False
        await self._next()
        return True

    async def _next(self) -> None:
        prompted = self._bodies.pop(0)
        prompted.note(self._expert, self._context)
        self.body = prompted.body
        self.body = await self._caps.clipped(self._expert, prompted.body, self.chat, self._dialect)
        self._recapped = False
