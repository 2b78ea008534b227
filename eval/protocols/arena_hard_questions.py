"""Arena-Hard's questions, v0.1 and v2.0: from a folder, from upstream, or the project's small set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.files import file_digest
from base.jsonl import JsonlError, read_rows
from eval.engine.answer_files import Replayed, merged, read_answers
from eval.engine.benchmark import Question
from eval.engine.question_sources import PinnedFile, fetch
from eval.errors import EvalError

OWN = Path(__file__).resolve().parents[1] / "questions" / "arena_hard"
"""The project's small set in v0.1's format, with its baseline's answers."""
OWN_BASELINE = "reference"

_REPOSITORY = "https://raw.githubusercontent.com/lmarena/arena-hard-auto/"
_V01 = _REPOSITORY + "efc012e192b88024a5203f5a28ec8fc0342946df/data/arena-hard-v0.1/"
_LATER = _REPOSITORY + "196f6b826783b3da7310e361a805fa36f0be83f3/data/"
VERSIONS: Mapping[str, tuple[PinnedFile, ...]] = {
    "arena-hard": (
        PinnedFile(
            "question.jsonl",
            _V01 + "question.jsonl",
            "4daad38811161c3ba5c248f26b90c3cef89634f4c772002ed9138c1e13f63e9f",
        ),
        PinnedFile(
            "model_answer/gpt-4-0314.jsonl",
            _LATER + "arena-hard-v0.1/model_answer/gpt-4-0314.jsonl",
            "0f6abc84de4600fde987d9db70f838f4ecdbd27a2f1f4058c12aa322a6f791b2",
        ),
    ),
    "arena-hard-v2": (
        PinnedFile(
            "question.jsonl",
            _LATER + "arena-hard-v2.0/question.jsonl",
            "a75cef6623db6b27aec810497b059f0659705d7ff48dcbccc5bd5b130728ac73",
        ),
        PinnedFile(
            "model_answer/o3-mini-2025-01-31.jsonl",
            _LATER + "arena-hard-v2.0/model_answer/o3-mini-2025-01-31.jsonl",
            "c23a7c255eead99f7f86ad48aa1d8ccdb5b3334f2097e0e1e09184df87265e03",
        ),
    ),
}

BASELINES: Mapping[str, str] = {
    "arena-hard-v0.1": "gpt-4-0314",
    "hard_prompt": "o3-mini-2025-01-31",
    "coding": "o3-mini-2025-01-31",
    "math": "o3-mini-2025-01-31",
    "creative_writing": "gemini-2.0-flash-001",
}
"""Baselines by upstream's question category."""


class ArenaHardError(EvalError):
    """Questions are invalid; the message names the line and the reason."""


@dataclass(frozen=True, slots=True)
class ArenaHardData:
    """Questions in order, their baselines, and the answers that came with them."""

    questions: tuple[Question, ...]
    baselines: Mapping[str, str]
    """By question id."""
    answers: Replayed | None
    digests: Mapping[str, str]


def load_questions(folder: Path | None, version: str, *, max_tokens: int = 4096) -> ArenaHardData:
    """Read `question.jsonl` and any answers (`model_answer/`, `answers*.parquet`, `answers*.jsonl`) of
    `folder`; None fetches upstream's.

    Raises:
        ArenaHardError: a file is missing or a line is invalid.
        AnswerFileError: the answers beside them are invalid.
        eval.engine.question_sources.SourceError: the download failed.
    """
    folder = folder or fetch(version, VERSIONS[version])
    path = folder / "question.jsonl"
    try:
        rows = read_rows(path)
    except JsonlError as error:
        raise ArenaHardError(
            f"{error}; --data wants a folder with question.jsonl and, for the baseline, model_answer/*.jsonl"
        ) from error
    questions, baselines = [], {}
    for place, row in rows:
        identity, category, prompt, baseline = _question(row, place)
        if identity in baselines:
            raise ArenaHardError(f"{place}: the question {identity} occurs twice")
        questions.append(Question(identity, category, (prompt,), 0.0, max_tokens))
        baselines[identity] = baseline
    if not questions:
        raise ArenaHardError(f"{path}: holds no questions")
    sources = [
        *([folder / "model_answer"] if (folder / "model_answer").is_dir() else []),
        *sorted(folder.glob("answers*.parquet")),
        *sorted(folder.glob("answers*.jsonl")),
    ]
    found = [read_answers(each) for each in sources]
    answers = merged(*found) if found else None
    digests = {"questions": file_digest(path)}
    if answers:
        digests["answers"] = answers.digest
    return ArenaHardData(tuple(questions), baselines, answers, digests)


def _question(row: dict[str, Any], place: str) -> tuple[str, str, str, str]:
    """Id, category, prompt and baseline of one line in the format of v0.1 or v2.0."""
    try:
        identity = str(row["question_id"] if "question_id" in row else row["uid"])
        group = str(row.get("category") or "")
        if "prompt" in row:
            prompt = row["prompt"]
        else:
            first = row["turns"][0]
            prompt = first["content"] if isinstance(first, dict) else first
    except (KeyError, IndexError, TypeError) as error:
        raise ArenaHardError(f"{place}: needs question_id or uid, and prompt or turns") from error
    if not isinstance(prompt, str) or not prompt.strip():
        raise ArenaHardError(f"{place}: the prompt is empty")
    baseline = str(row.get("baseline") or BASELINES.get(group, OWN_BASELINE))
    return identity, group or "arena-hard", prompt, baseline
