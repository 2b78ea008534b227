"""One model's whole answer to one request, and the error for a request that has none.

Knows nothing of how requests are sent or answers kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from base.usage import TokenUsage


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `seconds` is what the caller waited when it was asked for; `routing` is Coterie's decision,
    `logprobs` OpenAI's, where there are any. `kept` says that it was stored before rather than asked for
    now. A lone surrogate, which JSON can hold and UTF-8 cannot, becomes U+FFFD."""

    text: str
    finish_reason: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    seconds: float = 0.0
    routing: Mapping[str, Any] | None = None
    logprobs: Any = None
    kept: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if not self.text.isascii():
            text = self.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            object.__setattr__(self, "text", text)

    def document(self) -> dict[str, Any]:
        """As JSON, without what is not known."""
        found = {
            "text": self.text,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion,
            "cached_tokens": self.usage.cached,
            "reasoning_tokens": self.usage.reasoning,
            "latency_s": round(self.seconds, 4),
            "routing": None if self.routing is None else dict(self.routing),
            "logprobs": self.logprobs,
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def of(cls, document: Mapping[str, Any], *, kept: bool = False) -> Self:
        """The reply that `document()` gave. Raises KeyError or TypeError for anything else."""
        if not isinstance(document["text"], str):
            raise TypeError("the text is no text")
        get = document.get
        return cls(
            text=document["text"],
            finish_reason=get("finish_reason"),
            usage=TokenUsage(
                get("prompt_tokens"), get("completion_tokens"), get("cached_tokens"), get("reasoning_tokens")
            ),
            seconds=get("latency_s") or 0.0,
            routing=get("routing"),
            logprobs=get("logprobs"),
            kept=kept,
        )


class AskError(Exception):
    """A request that was not answered. `code` is for programs and `message` for people, with no prompt in
    either; `said` is what the server wrote, which may repeat the prompt.

    `unavailable` says that the server rather than the request was at fault, `transient` that the same request
    may succeed later, after `retry_after` seconds where the server says so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        unavailable: bool = False,
        transient: bool | None = None,
        retry_after: float | None = None,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.unavailable = unavailable
        self.transient = unavailable if transient is None else transient
        self.retry_after = retry_after
        self.said = said
