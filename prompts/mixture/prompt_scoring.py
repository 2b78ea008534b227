"""Asking the model under a prompt and scoring its answers; estimates of token counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.reply import Reply
from prompts.mixture.answer_metrics import METRICS
from prompts.mixture.call_budget import Asking, Call
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import FewShotPrompt, lay_out

CHARS_PER_TOKEN = 4.0
"""English prose; used where a server reports no tokens."""
MIN_CHARS_PER_TOKEN, MIN_BYTES_PER_TOKEN = 2.5, 3.0
"""Lower bounds (code and digits; other scripts), for what has to fit a context."""
TOKENS_PER_MESSAGE = 8
MIN_ANSWER_TOKENS = 256
"""Tokens of the context reserved for the answer when serving."""


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """The score (0 or 1) of an answer, and the tokens of its prompt."""

    score: float
    tokens: float


class PromptScorer:
    """Asks the model under prompts and scores its answers; `answered`: whether any answer was not empty."""

    def __init__(self, config: BuildConfig, asking: Asking, answer_tokens: int) -> None:
        self.config = config
        self.answer_tokens = answer_tokens
        self._asking = asking
        self._metric = METRICS[config.metric]
        self.answered = False

    def call(self, prompt: FewShotPrompt, demo: Demo) -> Call:
        """The call that asks `demo` under `prompt`."""
        messages = lay_out(prompt, [{"role": "user", "content": demo.input}], self.config.layout)
        return Call(tuple(messages), self.answer_tokens, 0.0, self.config.seed)

    async def score(
        self, stage: str, asked: Sequence[tuple[FewShotPrompt, Demo]]
    ) -> list[ScoredAnswer | None]:
        """The scored answers, in order; None where the prompt did not fit the context."""
        calls = [self.call(prompt, demo) for prompt, demo in asked]
        answers = await self._asking.all(stage, calls)
        return [
            self._scored(call, demo, answer)
            for call, (_, demo), answer in zip(calls, asked, answers, strict=True)
        ]

    async def instruction_means(
        self, instructions: Sequence[str], samples: Sequence[Demo]
    ) -> dict[str, float]:
        """The mean score of each instruction, without demos, on `samples`."""
        asked = [(FewShotPrompt(instruction), demo) for instruction in instructions for demo in samples]
        found = await self.score("scoring instructions", asked)
        scores = [answer.score if answer else 0.0 for answer in found]
        return {
            instruction: round(sum(scores[row * len(samples) : (row + 1) * len(samples)]) / len(samples), 9)
            for row, instruction in enumerate(instructions)
        }

    def fits(self, prompt: FewShotPrompt, asked: str) -> bool:
        """Whether the input `asked` under `prompt` should fit the context, with room for the answer."""
        if self.config.context_tokens is None:
            return True
        added = lay_out(prompt, [{"role": "user", "content": asked}], self.config.layout)
        room = max(self.answer_tokens, MIN_ANSWER_TOKENS)
        return upper_token_bound(added) + room <= self.config.context_tokens

    def _scored(self, call: Call, demo: Demo, answer: Reply | None) -> ScoredAnswer | None:
        if answer is None:
            return None
        self.answered = self.answered or bool(answer.text.strip())
        estimate = sum(
            TOKENS_PER_MESSAGE + round(len(each["content"]) / CHARS_PER_TOKEN) for each in call.messages
        )
        return ScoredAnswer(self._metric(answer.text, demo.output), float(answer.usage.prompt or estimate))


def upper_token_bound(messages: Sequence[Mapping[str, str]]) -> int:
    """An upper estimate of the tokens of `messages`."""
    return sum(TOKENS_PER_MESSAGE + round(upper_token_length(each["content"])) for each in messages)


def upper_token_length(text: str) -> float:
    """An upper estimate of the tokens of `text`."""
    return max(len(text) / MIN_CHARS_PER_TOKEN, len(text.encode()) / MIN_BYTES_PER_TOKEN)


def answer_tokens(demos: Sequence[Demo], config: BuildConfig) -> int:
    """An upper estimate of the longest output's tokens, at most half of the context."""
    if config.answer_tokens is not None:
        return config.answer_tokens
    longest = 16 + round(max(_output_tokens(demo.output) for demo in demos))
    return longest if config.context_tokens is None else min(longest, config.context_tokens // 2)


def _output_tokens(text: str) -> float:
    """An upper estimate for vocabularies that need a token per non-ASCII byte."""
    plain = sum(character.isascii() for character in text)
    return plain / MIN_CHARS_PER_TOKEN + len(text.encode()) - plain
