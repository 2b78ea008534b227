"""A judge: a model that is shown answers and says what they are worth.

A judgment that cannot be read is asked for again, in fewer words; one that still cannot be read has no
verdict and is counted. Knows nothing of benchmarks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from base.reply import AskError
from eval.engine.contestants import Contestant, ContestantAsker
from eval.judging.judge_prompts import BRIEF, FORMATS, JudgePrompt, JudgePrompts, Kind, Scale
from eval.judging.verdict_parsing import read_label, read_rating, schema

ATTEMPTS = 3
BRIEF_TOKENS = 64
"""What a repeated judgment, a verdict alone, may be long."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """`explain`: reasons before the verdict (better verdicts, more tokens); `structured`: use a JSON schema
    where supported."""

    max_tokens: int = 1024
    temperature: float = 0.0
    explain: bool = True
    structured: bool = True
    attempts: int = ATTEMPTS
    seed: int | None = 0


@dataclass(frozen=True, slots=True)
class Judgment:
    """A `rating` 1..10 or a `label`, neither if unparsed; `text`: the first reply, `attempts`: number of
    requests, `game` 1: the baseline is first (A), 2: the model is."""

    judge: str
    scale: str
    text: str
    attempts: int
    cached: bool
    rating: float | None = None
    label: str | None = None
    turn: int = 1
    game: int = 1

    @property
    def readable(self) -> bool:
        """Whether a verdict was parsed."""
        return self.rating is not None or self.label is not None

    def document(self) -> dict[str, Any]:
        """For the items of a run."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Judge:
    """A judge model with prompts and options."""

    def __init__(self, model: Contestant, prompts: JudgePrompts, options: JudgeOptions | None = None) -> None:
        self.model = model
        self.prompts = prompts
        self.options = options or JudgeOptions()
        self._takes_schema = self.options.structured

    @property
    def name(self) -> str:
        return self.model.name

    def must_have(self, kinds: Iterable[Kind]) -> None:
        """Raises PromptFileError unless there is a prompt for each of `kinds`."""
        for kind in kinds:
            self.prompts.of(kind)

    def document(self) -> dict[str, Any]:
        """For manifests."""
        return {
            **self.model.document(),
            "prompts": self.prompts.source,
            "prompts_digest": self.prompts.digest,
            **asdict(self.options),
        }

    async def judge(
        self,
        asker: ContestantAsker,
        kind: Kind,
        values: Mapping[str, str],
        *,
        category: str = "",
        turn: int = 1,
        game: int = 1,
    ) -> Judgment:
        """One judgment of `values`, the texts of the prompt's fields (`eval.judging.judge_prompts.NAMES`).

        Raises:
            AskError: the judge did not answer.
            PromptFileError: no prompt for this kind.
        """
        prompt = self.prompts.of(kind, category)
        messages, sampling = self._first(prompt, kind.scale, values, by_schema=self._takes_schema)
        try:
            reply = await asker.ask(self.model, messages, sampling)
        except AskError as error:
            if error.unavailable or "response_format" not in sampling:
                raise
            # The server may not support schemas. Where text is refused too, something else was wrong.
            messages, sampling = self._first(prompt, kind.scale, values, by_schema=False)
            reply = await asker.ask(self.model, messages, sampling)
            self._takes_schema = False
        first, cached = reply.text, reply.kept
        text, attempts = first, 1
        while (found := _read(text, kind.scale)) is None and attempts < self.options.attempts:
            again = [
                *messages,
                {"role": "assistant", "content": text or "(nothing)"},
                {"role": "user", "content": BRIEF[kind.scale]},
            ]
            reply = await asker.ask(self.model, again, self._again(kind.scale, prompt, attempts))
            text, cached = reply.text, cached and reply.kept
            attempts += 1
        return Judgment(
            judge=self.name,
            scale=kind.scale.value,
            text=first,
            attempts=attempts,
            cached=cached,
            rating=found if isinstance(found, float) else None,
            label=found if isinstance(found, str) else None,
            turn=turn,
            game=game,
        )

    def _first(
        self, prompt: JudgePrompt, scale: Scale, values: Mapping[str, str], *, by_schema: bool
    ) -> tuple[list[dict[str, str]], dict[str, Any]]:
        sampling = self._sampling(self.options.max_tokens)
        if not prompt.structured:
            return prompt.render(values), sampling
        ending = FORMATS[scale] if self.options.explain else BRIEF[scale]
        if by_schema:
            sampling["response_format"] = schema(scale, explain=self.options.explain)
            ending = _schema_ending(scale, explain=self.options.explain)
        return prompt.render(values, ending), sampling

    def _again(self, scale: Scale, prompt: JudgePrompt, attempt: int) -> dict[str, Any]:
        sampling = self._sampling(BRIEF_TOKENS, attempt)
        if prompt.structured and self._takes_schema:
            sampling["response_format"] = schema(scale, explain=False)
        return sampling

    def _sampling(self, max_tokens: int, attempt: int = 0) -> dict[str, Any]:
        sampling: dict[str, Any] = {"temperature": self.options.temperature, "max_tokens": max_tokens}
        if self.options.seed is not None:
            sampling["seed"] = self.options.seed + attempt
        return sampling


def _schema_ending(scale: Scale, *, explain: bool) -> str:
    name = "rating" if scale is Scale.RATING else "verdict"
    meaning = {
        Scale.RATING: "a whole number from 1 to 10",
        Scale.THREE: '"A>B" when A is better, "B>A" when B is better, "A=B" when neither is',
        Scale.FIVE: (
            '"A>>B" when A is much better, "A>B" when A is a little better, "A=B" when they are about equal, '
            '"B>A" when B is a little better, "B>>A" when B is much better'
        ),
    }[scale]
    fields = f'"explanation" (a few sentences) and then "{name}"' if explain else f'"{name}"'
    return f"Reply with a JSON object that has {fields}: {meaning}."


def _read(text: str, scale: Scale) -> float | str | None:
    return read_rating(text) if scale is Scale.RATING else read_label(text, scale)
