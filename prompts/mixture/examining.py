"""Asking the model under a prompt and scoring what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.reply import Reply
from prompts.mixture.answer_metrics import METRICS
from prompts.mixture.call_budget import Asking, Call
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import Prompt, lay_out

CHARS_PER_TOKEN = 4.0
"""Of English prose: where a server counts no tokens."""
CAUTIOUS_CHARS_PER_TOKEN, CAUTIOUS_BYTES_PER_TOKEN = 2.5, 3.0
"""Of code and figures, and of scripts other than Latin: for what has to fit a context, as serving has it."""
TOKENS_PER_MESSAGE = 8
LEAST_ANSWER_ROOM = 256
"""Tokens of the context that a prompt leaves for the answer: who asks later may want more than a build."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt on one demo: 0 or 1, and the prompt's tokens."""

    score: float
    tokens: float


class Examiner:
    """Asks the model under a prompt and scores its answers."""

    def __init__(self, config: BuildConfig, asking: Asking, answer_tokens: int) -> None:
        self.config = config
        self.answer_tokens = answer_tokens
        self._asking = asking
        self._metric = METRICS[config.metric]
        self.heard = False
        """Whether the model ever answered anything."""

    def call(self, prompt: Prompt, demo: Demo) -> Call:
        """The question that `demo` is under `prompt`."""
        messages = lay_out(prompt, [{"role": "user", "content": demo.input}], self.config.layout)
        return Call(tuple(messages), self.answer_tokens, 0.0, self.config.seed)

    async def trials(self, stage: str, asked: Sequence[tuple[Prompt, Demo]]) -> list[Trial | None]:
        """One trial for each; None where the prompt did not fit the context."""
        answers = await self._asking.all(stage, [self.call(prompt, demo) for prompt, demo in asked])
        return [
            self._trial(prompt, demo, answer) for (prompt, demo), answer in zip(asked, answers, strict=True)
        ]

    def fits(self, prompt: Prompt, asked: str) -> bool:
        """Whether `asked` under `prompt` should fit the model's context, with room for the answer."""
        if self.config.context_tokens is None:
            return True
        added = lay_out(prompt, [{"role": "user", "content": asked}], self.config.layout)
        room = max(self.answer_tokens, LEAST_ANSWER_ROOM)
        return cautious_tokens(added) + room <= self.config.context_tokens

    def _trial(self, prompt: Prompt, demo: Demo, answer: Reply | None) -> Trial | None:
        if answer is None:
            return None
        self.heard = self.heard or bool(answer.text.strip())
        tokens = float(answer.usage.prompt or _estimate(self.call(prompt, demo).messages))
        return Trial(self._metric(answer.text, demo.output), tokens)


def _estimate(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(TOKENS_PER_MESSAGE + round(len(each["content"]) / CHARS_PER_TOKEN) for each in messages)


def cautious_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Tokens that `messages` hardly exceed."""
    return sum(TOKENS_PER_MESSAGE + round(cautious_length(each["content"])) for each in messages)


def cautious_length(text: str) -> float:
    """Tokens that `text` hardly exceeds."""
    return max(len(text) / CAUTIOUS_CHARS_PER_TOKEN, len(text.encode()) / CAUTIOUS_BYTES_PER_TOKEN)


def answer_tokens(demos: Sequence[Demo], config: BuildConfig) -> int:
    """Tokens that the longest output needs, generously: characters of rare words make many tokens. At most
    half of the model's context, so that one long output leaves room for every input."""
    if config.answer_tokens is not None:
        return config.answer_tokens
    longest = 16 + round(max(_most_tokens(demo.output) for demo in demos))
    return longest if config.context_tokens is None else min(longest, config.context_tokens // 2)


def _most_tokens(text: str) -> float:
    """What a vocabulary made for English needs: beyond ASCII it may have a token for each byte."""
    plain = sum(character.isascii() for character in text)
    return plain / CAUTIOUS_CHARS_PER_TOKEN + len(text.encode()) - plain
