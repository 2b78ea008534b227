"""Tokens of one answer, as OpenAI's `usage` object counts them.

https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Counts of tokens, None where the server told none.

    `cached` are those of `prompt` that a prefix cache held, `reasoning` those of `completion` that nobody
    sees.
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    reasoning: int | None = None

    @classmethod
    def of(cls, usage: Any) -> Self:
        """Read a `usage` object as it came. What is no count, negative or missing is None."""
        return cls(
            prompt=_count(usage, "prompt_tokens"),
            completion=_count(usage, "completion_tokens"),
            cached=_count(_part(usage, "prompt_tokens_details"), "cached_tokens"),
            reasoning=_count(_part(usage, "completion_tokens_details"), "reasoning_tokens"),
        )

    @property
    def both(self) -> tuple[int, int] | None:
        """Prompt and completion tokens, None unless both are known."""
        return None if self.prompt is None or self.completion is None else (self.prompt, self.completion)


def _part(usage: Any, name: str) -> Any:
    return usage.get(name) if isinstance(usage, Mapping) else None


def _count(usage: Any, name: str) -> int | None:
    value = _part(usage, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
