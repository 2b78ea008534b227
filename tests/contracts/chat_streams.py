"""The order of chunks in a stream of chat completions, and of legacy completions.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from tests.contracts.errors import openai_error_problems
from tests.contracts.sse import DONE, Event, is_object
from tests.contracts.validation import problems

Chunk = Mapping[str, Any]


def chat_problems(
    events: Sequence[Event], *, usage: bool = False, n: int = 1, logprobs: bool = False, failed: bool = False
) -> list[str]:
    """A stream of chat completion chunks. `usage`, `n` and `logprobs` as the client asked; `failed`: it is to
    end with an error."""
    chunks = _chunks(events, failed)
    if found := [each for chunk in chunks for each in problems(ChatCompletionChunk, chunk)]:
        return found
    found = _frame_problems(events, chunks, usage=usage, failed=failed)
    choices: dict[int, _Choice] = {}
    for chunk in chunks:
        for each in chunk["choices"]:
            found += choices.setdefault(each["index"], _Choice()).read(each)
    if failed:
        return found
    if sorted(choices) != list(range(n)):
        found.append(f"choices {sorted(choices)}, asked for {n}")
    return found + [each for choice in choices.values() for each in choice.whole_problems(logprobs)]


def completions_problems(
    events: Sequence[Event], *, usage: bool = False, n: int = 1, failed: bool = False
) -> list[str]:
    """A stream of legacy completions."""
    chunks = _chunks(events, failed)
    # The model is that of whole completions: in a chunk, `finish_reason` is null until the end.
    pending = ".finish_reason: None is none of"
    found = [each for chunk in chunks for each in problems(Completion, chunk) if pending not in each]
    if found:
        return found
    found = _frame_problems(events, chunks, usage=usage, failed=failed)
    finished: dict[int, str | None] = {}
    for choice in (each for chunk in chunks for each in chunk["choices"]):
        if finished.get(choice["index"]) is not None:
            found.append("something comes after the finish reason")
        finished[choice["index"]] = choice["finish_reason"]
    if not failed and (sorted(finished) != list(range(n)) or None in finished.values()):
        found.append(f"choices {finished}, asked for {n}")
    return found


def _chunks(events: Sequence[Event], failed: bool) -> list[Any]:
    """All but the end: `[DONE]`, or the error."""
    chunks = [event.data for event in events if event.data != DONE]
    return chunks[:-1] if failed else chunks


def _frame_problems(
    events: Sequence[Event], chunks: Sequence[Chunk], *, usage: bool, failed: bool
) -> list[str]:
    """What holds for the chunks of both: one answer, the decision in front, the usage behind, an end."""
    found = [f"an event of the kind {event.kind}" for event in events if event.kind is not None]
    found += _end_problems([event.data for event in events], failed)
    for name in ("id", "object", "created", "model"):
        if len({chunk[name] for chunk in chunks}) > 1:
            found.append(f"{name} changes in the middle")
    if not chunks or "routing" not in chunks[0]:
        found.append("the first chunk has no routing")
    answer = list(chunks)
    if usage and not failed and answer:
        last = answer.pop()
        if last["choices"] or not last.get("usage"):
            found.append("the last chunk is not the usage alone")
    for number, chunk in enumerate(answer):
        if not chunk["choices"]:
            found.append(f"chunk {number} has no choices")
        if chunk.get("usage") is not None:
            found.append(f"chunk {number} tells the usage")
    return found


def _end_problems(said: Sequence[Any], failed: bool) -> list[str]:
    if not failed:
        return [] if said.count(DONE) == 1 and said[-1] == DONE else ["[DONE] is not the last event, once"]
    found = ["[DONE] after a failure"] if DONE in said else []
    return found + openai_error_problems(said[-1] if said else None)


@dataclass(slots=True)
class _Choice:
    """One choice of a stream, as far as it was read."""

    role: bool = False
    finish: str | None = None
    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    logprobs: str = ""

    def read(self, each: Chunk) -> list[str]:
        found, delta = [], each["delta"]
        if self.finish is not None:
            found.append("something comes after the finish reason")
        if not self.role and delta.get("role") != "assistant":
            found.append("a choice does not begin with the role")
        self.role = True
        self.finish = each["finish_reason"]
        self.text += delta.get("content") or ""
        for token in (each.get("logprobs") or {}).get("content") or []:
            self.logprobs += token["token"]
        return found + [
            problem for call in delta.get("tool_calls") or [] for problem in self._read_call(call)
        ]

    def _read_call(self, call: Mapping[str, Any]) -> list[str]:
        function = call.get("function") or {}
        begun = call["index"] in self.calls
        known = self.calls.setdefault(call["index"], {"arguments": ""})
        known["arguments"] += function.get("arguments") or ""
        if begun or (call.get("id") and function.get("name")):
            return []
        return ["a tool call begins without its id and name"]

    def whole_problems(self, logprobs: bool) -> list[str]:
        found = []
        if self.finish is None:
            found.append("a choice has no finish reason")
        if (self.finish == "tool_calls") != bool(self.calls):
            found.append(f"{len(self.calls)} tool calls, and the finish reason {self.finish}")
        if sorted(self.calls) != list(range(len(self.calls))):
            found.append(f"tool calls are numbered {sorted(self.calls)}")
        for call in self.calls.values():
            if not is_object(call["arguments"]):
                found.append(f"arguments are no JSON: {call['arguments']!r}")
        if self.logprobs != (self.text if logprobs else ""):
            found.append(f"log-probabilities of {self.logprobs!r}, asked for: {logprobs}, of {self.text!r}")
        return found
