"""Interface of benchmarks: questions, conversations and their scoring."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from base.reply import AskError, Reply
from eval.engine.contestants import Contestant, ContestantAsker


@dataclass(frozen=True, slots=True)
class Question:
    """One question of one or more turns. `id` is unique within its benchmark. A `temperature` of None leaves
    sampling to the contestant; `sample` then numbers its answers to the same question."""

    id: str
    category: str
    turns: tuple[str, ...]
    temperature: float | None = 0.0
    max_tokens: int = 1024
    sample: int = 0


def first_of_each(questions: Sequence[Question], limit: int | None) -> tuple[Question, ...]:
    """`limit` questions, drawn round-robin over categories, in the original order; all if it is None."""
    places = Counter[str]()
    rounds = []
    for place, question in enumerate(questions):
        rounds.append((places[question.category], place))
        places[question.category] += 1
    kept = sorted(place for _, place in sorted(rounds)[:limit])
    return tuple(questions[place] for place in kept)


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """The prompt and answer of one turn."""

    prompt: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Marks:
    """The scoring of one conversation: `score` in 0..1, None if there is none (unparsable judgments, code
    that may not run); `values`: the benchmark's metrics, such as `{"turn_1": 7.0}`; `verdicts`: rows of
    the verdict table; `judgments`: the judges' replies; `unparsed`: judgments without a verdict."""

    score: float | None
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    verdicts: tuple[Mapping[str, Any], ...] = ()
    judgments: tuple[Mapping[str, Any], ...] = ()
    unparsed: int = 0


class Benchmark(Protocol):
    """Questions and the scoring of conversations about them."""

    @property
    def name(self) -> str:
        """Short, for run ids and reports."""
        ...

    @property
    def questions(self) -> Sequence[Question]: ...

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of each data file, by its role."""
        ...

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        """Score one conversation. May ask judges and a baseline; raises `AskError` if they fail."""
        ...

    def document(self) -> Mapping[str, Any]:
        """For the manifest: protocol, judges, prompt digests. With `digests`, identifies the benchmark."""
        ...


async def converse(
    asker: ContestantAsker,
    contestant: Contestant,
    question: Question,
    *,
    seed: int | None = None,
    system: str | None = None,
) -> tuple[AskedTurn, ...]:
    """Ask the turns of `question` in one conversation, with the system prompt `system`.

    Raises:
        AskError: a turn was not answered (`no_answer` if a replayed contestant has none).
    """
    if contestant.replayed is not None:
        answers = contestant.replayed.get(question.id, ())
        if len(answers) < len(question.turns):
            raise AskError("no_answer", "the file holds no answer to this question")
        return tuple(
            AskedTurn(prompt, Reply(answer, kept=True))
            for prompt, answer in zip(question.turns, answers, strict=False)
        )
    messages, sampling = opening(question, seed=seed, system=system)
    turns: list[AskedTurn] = []
    for prompt in question.turns:
        if turns:
            messages.append({"role": "user", "content": prompt})
        reply = await asker.ask(contestant, messages, sampling)
        messages.append({"role": "assistant", "content": reply.text})
        turns.append(AskedTurn(prompt, reply))
    return tuple(turns)


def opening(
    question: Question, *, seed: int | None = None, system: str | None = None
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The messages of the first turn of `question`, and the sampling parameters of all turns.

    `seed` goes with a temperature that the question sets. With the contestant's own sampling the first sample
    has no seed, and each further one its number."""
    sampling: dict[str, Any] = {"max_tokens": question.max_tokens}
    if question.temperature is None:
        seed = question.sample or None
    else:
        sampling["temperature"] = question.temperature
    if seed is not None:
        sampling["seed"] = seed
    messages = [] if system is None else [{"role": "system", "content": system}]
    return [*messages, {"role": "user", "content": question.turns[0]}], sampling
