"""One chat request from its decision to its end, and the row that is kept of it."""

import time
from datetime import UTC, datetime
from typing import Any, Literal

from app.serving.answer_reader import AnswerReader
from app.serving.chat_body import ChatRequest
from app.serving.decision_document import decision_document
from app.serving.request_context import PromptUse, RequestContext
from app.serving.strategy_trace import Trace
from base.usage import TokenUsage
from routers.decision import Decision
from routers.strategy_choice import give_up_strategy

Status = Literal["ok", "error", "cancelled"]


class AnswerRecord:
    """Changes while the request is answered; `decision` is replaced when another expert answers."""

    def __init__(
        self, chat: ChatRequest, decision: Decision, context: RequestContext, *, keep_text: bool = False
    ) -> None:
        """`keep_text`: the row holds the text of the request and its answer."""
        self.chat = chat
        self.decision = decision
        self.context = context
        self.trace: Trace | None = None
        """What the strategy did; None when one expert answers."""
        self.expert_usage: Any = None
        """What the one expert reported, in chat's form."""
        self.native = False
        """The expert answers in the client's own dialect, which is not chat."""
        self.reader = AnswerReader()
        """What the answer says, so far as it came."""
        self.created_at = datetime.now(UTC)
        self.first_byte_s: float | None = None
        """Seconds from the request's arrival to the first byte of its answer."""
        self.finished = False
        self._keep_text = keep_text
        self._read: tuple[Any, TokenUsage] | None = None
        self._document: tuple[Decision, PromptUse, dict[str, Any]] | None = None
        """What was last told of `decision`: the client and the row get the same."""

    @property
    def stream(self) -> bool:
        return bool(self.chat.body.stream)

    @property
    def seconds(self) -> float:
        """Since the request's arrival."""
        return time.perf_counter() - self.chat.started

    @property
    def usage(self) -> dict[str, Any] | None:
        """The `usage` of a chat completion, None when nothing is known; a strategy's lists its calls under
        `calls`."""
        if self.trace is not None:
            return self.trace.usage()
        return self._tokens.document()

    @property
    def _tokens(self) -> TokenUsage:
        """`expert_usage`, read."""
        if self._read is None or self._read[0] is not self.expert_usage:
            self._read = self.expert_usage, TokenUsage.of(self.expert_usage)
        return self._read[1]

    @property
    def reported(self) -> list[tuple[str, TokenUsage]]:
        """Each call to an expert, and the tokens that its server reported."""
        if self.trace is not None:
            return [(step.expert, step.reported) for step in self.trace.steps]
        expert = self.decision.expert
        calls = [(expert, self._tokens)]
        if (identity := self.context.use_of(expert).identity) is not None and identity.calls:
            calls.append((expert, TokenUsage(identity.prompt_tokens, identity.completion_tokens)))
        return calls

    @property
    def document(self) -> dict[str, Any]:
        """The `routing` of the answer, as it is known now."""
        decision, used = self.decision, self.context.use_of(self.decision.expert)
        if self.trace is not None:
            return decision_document(decision, self.trace, used)
        if self._document is None or self._document[0] is not decision or self._document[1] is not used:
            self._document = decision, used, decision_document(decision, None, used)
        return self._document[2]

    def give_up_strategy(self, why: str) -> None:
        """One expert answers after all; `why` ends a sentence."""
        self.decision = give_up_strategy(self.decision, why)
        self.trace = None

    def columns(self, status: str, http_status: int, *, error_code: str | None = None) -> dict[str, Any]:
        """The decision with what became of it, as columns of `app.storage.rows.DecisionRow`. Of a cancelled
        answer no usage is known."""
        body, chain = self.chat.body, self.context.chain
        return {
            **self.document,
            "created_at": self.created_at,
            "request_id": self.chat.request_id,
            "api_key": self.chat.api_key,
            "conversation": body.routing.conversation,
            "model": body.model or "",
            "stream": self.stream,
            "status": status,
            "http_status": http_status,
            "error_code": error_code,
            "latency_ms": _milliseconds(self.seconds),
            "first_byte_ms": _milliseconds(self.first_byte_s),
            "repeated_share": None if chain is None else round(chain.repeated_share, 4),
            "usage": None if status == "cancelled" else self.usage,
            "messages": self.chat.document["messages"] if self._keep_text else None,
            "answer": self.reader.text if self._keep_text and status == "ok" else None,
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
