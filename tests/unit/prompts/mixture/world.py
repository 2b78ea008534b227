"""A toy task and a toy model for building mixtures: nothing to install, nothing random.

The task has two kinds of input, told apart by their first word and by the encoder: `mirror WORD` wants the
word backwards, `count WORD` its number of letters. The model does what it was told or shown, and
repeats the input otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from base.reply import Reply
from base.usage import TokenUsage
from prompts.mixture.call_budget import Ask, Messages, PromptTooLong
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Matrix

DIMENSION = 8
MIRROR = "Write the word backwards."
COUNT = "Give the number of letters in the word."


def word(number: int) -> str:
    """A word of its own for each number."""
    letters = []
    for _ in range(3 + number % 4):
        letters.append("bdfghklm"[number % 8] + "aeiou"[number % 5])
        number = number // 3 + 7
    return "".join(letters)


def toy_demos(count: int = 100) -> tuple[Demo, ...]:
    """Both kinds in turns."""
    made = []
    for number in range(count):
        text = f"{word(number)}{number}"
        if number % 2:
            made.append(Demo(f"mirror {text}", text[::-1]))
        else:
            made.append(Demo(f"count {text}", str(len(text))))
    return tuple(made)


def encode(texts: Sequence[str]) -> Matrix:
    """Mirrors and counts lie apart; each text is somewhere of its own around its kind."""
    rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[0 if text.startswith("mirror") else 1 if text.startswith("count") else 2] = 1
        for place, letter in enumerate(text.encode()):
            row[3 + place % (DIMENSION - 3)] += (letter % 7 - 3) / 40
        row /= np.linalg.norm(row)
    return rows


@dataclass
class ToyModel:
    """Answers by rules. `written` is what it writes as instructions, in turns by seed; `words` the most
    words that its context holds; `seen` every question asked."""

    written: Sequence[str] = (MIRROR, COUNT)
    words: int | None = None
    answer: Callable[[Messages], str] | None = None
    fails_after: int | None = None
    seen: list[tuple[Messages, int, float, int]] = field(default_factory=list)

    async def __call__(self, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        if self.fails_after is not None and len(self.seen) >= self.fails_after:
            raise ConnectionError("the model is gone")
        self.seen.append((messages, max_tokens, temperature, seed))
        size = sum(len(message["content"].split()) for message in messages)
        if self.words is not None and size > self.words:
            raise PromptTooLong
        text = self._induced(messages, seed) if is_induction(messages) else None
        if text is None:
            text = (self.answer or follow)(messages)
        return Reply(text, usage=TokenUsage(size, len(text.split())))

    def _induced(self, messages: Messages, seed: int) -> str:
        return self.written[seed % len(self.written)] if self.written else ""


class Remembering:
    """Asks `ask` only what it was not asked before, as the store of answers does."""

    def __init__(self, ask: Ask, known: dict[str, Reply]) -> None:
        self._ask = ask
        self._known = known

    async def __call__(self, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        key = repr((list(messages), max_tokens, temperature, seed))
        if key in self._known:
            return replace(self._known[key], kept=True)
        self._known[key] = await self._ask(
            messages, max_tokens=max_tokens, temperature=temperature, seed=seed
        )
        return self._known[key]


def is_induction(messages: Messages) -> bool:
    """Whether the model is asked for an instruction rather than for an answer."""
    return messages[-1]["content"].startswith("Somebody was given")


def follow(messages: Messages) -> str:
    """Do what the instruction or the latest demo of the same kind says; repeat the input without."""
    kind, _, text = messages[-1]["content"].partition(" ")
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    shown = {each["content"].partition(" ")[0] for each in messages[:-1] if each["role"] == "user"}
    if kind == "mirror" and (MIRROR in system or kind in shown):
        return text[::-1]
    if kind == "count" and (COUNT in system or kind in shown):
        return str(len(text))
    return text
