"""Tokens of one answer, read from the `usage` object of any dialect and written as chat completions have it.

Knows these shapes, and nothing else that a server may put beside them:
https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage (`prompt_tokens`),
https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage (`input_tokens`),
https://docs.anthropic.com/en/api/messages#response-usage (`input_tokens` without those of the cache).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

_PLAIN = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"})
"""What most servers tell: nothing of reasoning, nor of a cache by another name."""
MOST = 2**53
"""Above it there is no count of tokens, and a metric could not hold it."""


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
        if not isinstance(usage, Mapping):
            return cls()
        cached = None
        for details in (usage.get("prompt_tokens_details"), usage.get("input_tokens_details")):
            if cached is None and details is not None:
                cached = _count(details, "cached_tokens")
        if cached is None and not usage.keys() <= _PLAIN:
            cached = _first(usage, "cache_read_input_tokens", "prompt_cache_hit_tokens")  # DeepSeek
        prompt = _count(usage, "prompt_tokens")
        if prompt is None:
            prompt = _whole_input(usage)
        completion = _first(usage, "completion_tokens", "output_tokens")
        reasoning = None if usage.keys() <= _PLAIN else _reasoning(usage)
        if reasoning and prompt is not None and completion is not None:
            apart = _count(usage, "total_tokens") == prompt + completion + reasoning
            completion += reasoning if apart else 0  # xAI and Gemini do not count them as part of the answer
        return cls(prompt, completion, cached, reasoning)

    @classmethod
    def sum(cls, usages: Sequence["TokenUsage"]) -> Self:
        """Of several answers: what is known of each count, None where nobody told it."""
        return cls(
            known_sum(each.prompt for each in usages),
            known_sum(each.completion for each in usages),
            known_sum(each.cached for each in usages),
            known_sum(each.reasoning for each in usages),
        )

    @property
    def both(self) -> tuple[int, int] | None:
        """Prompt and completion tokens, None unless both are known."""
        return None if self.prompt is None or self.completion is None else (self.prompt, self.completion)

    @property
    def by_kind(self) -> dict[str, int]:
        """The known counts by name."""
        counts = {
            "prompt": self.prompt,
            "completion": self.completion,
            "cached": self.cached,
            "reasoning": self.reasoning,
        }
        return {kind: count for kind, count in counts.items() if count is not None}

    def document(self) -> dict[str, Any] | None:
        """A chat completion's `usage` of what is known, None when nothing is."""
        out: dict[str, Any] = {}
        if self.prompt is not None:
            out["prompt_tokens"] = self.prompt
        if self.completion is not None:
            out["completion_tokens"] = self.completion
        if self.both is not None:
            out["total_tokens"] = sum(self.both)
        if self.cached is not None:
            out["prompt_tokens_details"] = {"cached_tokens": self.cached}
        if self.reasoning is not None:
            out["completion_tokens_details"] = {"reasoning_tokens": self.reasoning}
        return out or None


def known_sum(counts: Iterable[int | None]) -> int | None:
    """The sum of those that are known, None when none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _reasoning(usage: Any) -> int | None:
    reasoning = None
    if (details := usage.get("completion_tokens_details")) is not None:
        reasoning = _count(details, "reasoning_tokens")
    if reasoning is None and (details := usage.get("output_tokens_details")) is not None:
        reasoning = _first(details, "reasoning_tokens", "thinking_tokens")
    return _count(usage, "reasoning_tokens") if reasoning is None else reasoning  # SGLang


def _whole_input(usage: Any) -> int | None:
    """`input_tokens`: Anthropic's are those that no cache had to do with."""
    read = _count(usage, "input_tokens")
    if read is None:
        return None
    cache = (_count(usage, f"cache_{name}_input_tokens") or 0 for name in ("read", "creation"))
    return read + sum(cache)


def _first(usage: Any, *names: str) -> int | None:
    """The first of these counts that is known."""
    for name in names:
        if (count := _count(usage, name)) is not None:
            return count
    return None


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if type(usage) is dict or isinstance(usage, Mapping) else None
    return None if value is None else _whole_number(value)


def _whole_number(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if known else None
