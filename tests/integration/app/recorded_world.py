"""A generated table of closed questions, and fake experts that give the recorded answers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from base.final_answers import Kind, closed_answer
from experts.fake import Behaviour, Chooser, run_fake_expert
from tests.integration.app.world import VOCABULARY, World, small_composition

SIZES: Mapping[str, float] = {"tiny": 1, "small": 2, "middle": 4, "large": 8, "other": 6}
PATIENT = {"connect_s": 60, "first_byte_s": 60, "idle_s": 60, "total_s": 120}
"""Nobody is late, however slow the machine."""
EXPERTS: Mapping[str, Mapping[str, Any]] = {
    name: {"params_b": size, "context_length": 4000, "timeouts": PATIENT} for name, size in SIZES.items()
}
RIGHT = ((0.4, 0.5, 0.5, 0.65, 0.55), (0.5, 0.45, 0.6, 0.6, 0.65))
"""Share of right answers, by category, experts across."""
NOTHING = "Sorry, no idea."
FAILED = 0.02
UNANSWERED = 0.05
LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one expert says to one prompt: the final answer in it ("": none), its score, and the mean
    log-probability of its tokens. `text` None: the call fails."""

    text: str | None
    answer: str
    score: float
    logprob: float


@dataclass(frozen=True, slots=True)
class RecordedTable:
    """`replies` by expert, in the order of `prompts`."""

    prompts: tuple[str, ...]
    categories: tuple[str, ...]
    replies: Mapping[str, tuple[Reply, ...]]

    def write(self, folder: Path) -> Path:
        """The table in its files."""
        folder.mkdir()
        uids = [f"p{row}" for row in range(len(self.prompts))]
        columns = {"uid": uids, "category": list(self.categories), "prompt": list(self.prompts)}
        _write(folder / "prompts.parquet", columns)

        def cells(name: str, of: Any) -> None:
            known = {
                expert: [of(each) if each.text is not None else None for each in replies]
                for expert, replies in self.replies.items()
            }
            _write(folder / f"{name}.parquet", {"uid": uids, **known})

        cells("scores", lambda reply: reply.score)
        cells("answers", lambda reply: reply.answer)
        cells("logprobs", lambda reply: reply.logprob)
        experts = [{"name": name, "params_b": size} for name, size in SIZES.items()]
        (folder / "experts.yaml").write_text(yaml.safe_dump({"experts": experts}))
        return folder


def recorded_table(prompts: int, seed: int = 0) -> RecordedTable:
    """Questions for a letter or a number. Experts share their mistakes, some are surer than others."""
    random = np.random.default_rng(seed)
    texts, categories = [], []
    replies: dict[str, list[Reply]] = {name: [] for name in SIZES}
    for row in range(prompts):
        topic = int(random.integers(2))
        words = [*random.choice(VOCABULARY[topic], 3), *random.choice(VOCABULARY[1 - topic], row % 3)]
        numbers = bool(random.integers(2))
        options = [str(each) for each in random.choice(90, 4, replace=False) + 10] if numbers else LETTERS
        about = f"{' '.join(words)} {row}"
        texts.append(
            f"{about}: how many are there?"
            if numbers
            else f"{about}: which one?\n{' '.join(f'{letter}) it' for letter in LETTERS)}\nAnswer by letter."
        )
        categories.append(("coding", "smalltalk")[topic])
        hard = random.random() * 0.5
        for expert, name in enumerate(SIZES):
            right = random.random() < RIGHT[topic][expert] + 0.25 - hard
            wrong = 1 if random.random() < 0.5 else int(random.integers(1, 4))
            answer = str(options[0 if right else wrong])
            form = random.choice(["{}", "The answer is {}.", "I would say: {}"])
            text: str | None = str(form).format(answer)
            if random.random() < UNANSWERED:
                answer, text, right = "", NOTHING, False
            kind: Kind = "number" if numbers else "choice"
            assert text is not None and (closed_answer(kind, text) or "") == answer
            if random.random() < FAILED:
                text = None
            logprob = round(-float(random.gamma(2.0, 0.15 if right else 0.4)), 4)
            replies[name].append(Reply(text, answer, float(right), max(logprob, -4.5)))
    return RecordedTable(
        tuple(texts), tuple(categories), {name: tuple(each) for name, each in replies.items()}
    )


@contextmanager
def recorded_world(folder: Path, table: RecordedTable) -> Iterator[World]:
    """A world whose experts say what the table recorded."""
    row_of = {prompt: row for row, prompt in enumerate(table.prompts)}

    def saying(replies: tuple[Reply, ...]) -> Chooser:
        def choose(body: Mapping[str, Any]) -> Behaviour:
            reply = replies[row_of[str(body["messages"][-1]["content"])]]
            if reply.text is None:
                # A refusal, not an outage: the expert stays available to others.
                return Behaviour(status=400, error={"message": "no", "type": "invalid_request_error"})
            return Behaviour(reply=reply.text, confidence=float(np.exp(reply.logprob)))

        return choose

    with ExitStack() as stack:
        fakes = {
            name: stack.enter_context(run_fake_expert(saying(replies), name=name))
            for name, replies in table.replies.items()
        }
        small_composition(folder / "composition", experts=EXPERTS, scores=RIGHT)
        yield World(folder, fakes, experts=EXPERTS)


def _write(path: Path, columns: Mapping[str, list[Any]]) -> None:
    pq.write_table(pa.table(dict(columns)), path)
