"""MT-Bench's questions and reference answers: from a folder, from upstream, or the project's small set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.files import file_digest
from base.jsonl import JsonlError, read_rows
from eval.engine.benchmark import Question
from eval.engine.question_sources import PinnedFile, fetch
from eval.errors import EvalError

OWN = Path(__file__).resolve().parents[1] / "questions" / "mt_bench"
"""The project's small set in the same format."""

_UPSTREAM = (
    "https://raw.githubusercontent.com/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/"
    "fastchat/llm_judge/data/mt_bench/"
)
SOURCES = (
    PinnedFile(
        "question.jsonl",
        _UPSTREAM + "question.jsonl",
        "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
    ),
    PinnedFile(
        "reference_answer_gpt-4.jsonl",
        _UPSTREAM + "reference_answer/gpt-4.jsonl",
        "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
    ),
)

TEMPERATURES: Mapping[str, float] = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
    "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
"""Temperature of contestants by category (FastChat's `temperature_config`)."""
OTHER_TEMPERATURE = 0.7
NEED_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""Categories whose judges see the reference answer, if there is one."""


class MtBenchError(EvalError):
    """Questions or reference answers are invalid; the message names the line and the reason."""


@dataclass(frozen=True, slots=True)
class MtBenchData:
    """Questions in order, and reference answers per turn by question id."""

    questions: tuple[Question, ...]
    references: Mapping[str, tuple[str, ...]]
    digests: Mapping[str, str]


def load_questions(folder: Path | None, *, turns: int = 2, max_tokens: int = 1024) -> MtBenchData:
    """Read `question.jsonl` and reference answers of `folder`; None fetches them from upstream.

    `turns` 1 asks only first turns, which deviates from MT-Bench's protocol; reports note it.

    Raises:
        MtBenchError: a file is missing or a line is invalid.
        eval.engine.question_sources.SourceError: the download failed.
    """
    folder = folder or fetch("mt-bench", SOURCES)
    path = folder / "question.jsonl"
    questions = []
    for place, row in _rows(path):
        try:
            category = str(row["category"])
            texts = tuple(str(each) for each in row["turns"])
            identity = str(row["question_id"])
        except (KeyError, TypeError) as error:
            raise MtBenchError(f"{place}: needs question_id, category and turns") from error
        temperature = TEMPERATURES.get(category, OTHER_TEMPERATURE)
        questions.append(Question(identity, category, texts[:turns], temperature, max_tokens))
    if not questions:
        raise MtBenchError(f"{path}: holds no questions")
    if len({each.id for each in questions}) < len(questions):
        raise MtBenchError(f"{path}: a question_id occurs twice")
    digests = {"questions": file_digest(path)}
    references: dict[str, tuple[str, ...]] = {}
    files = sorted({*folder.glob("reference_answer*.jsonl"), *folder.glob("reference_answer*/*.jsonl")})
    for file in files:
        digests[f"references {file.name}"] = file_digest(file)
        for place, row in _rows(file):
            try:
                answers = tuple(str(each) for each in row["choices"][0]["turns"])
                references[str(row["question_id"])] = answers
            except (KeyError, IndexError, TypeError) as error:
                raise MtBenchError(f"{place}: needs question_id and choices with turns") from error
    return MtBenchData(tuple(questions), references, digests)


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        return read_rows(path)
    except JsonlError as error:
        raise MtBenchError(
            f"{error}; --data wants a folder with question.jsonl and reference_answer*.jsonl"
        ) from error
