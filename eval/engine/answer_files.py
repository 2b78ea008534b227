"""Pre-generated answers from JSONL or Parquet files, or a folder of them.

Reads the formats of FastChat and arena-hard-auto and a flat one, `question_id, model, answer`. Knows nothing
of judges.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.jsonl import JsonlError, read_rows
from eval.engine.contestants import Contestant
from eval.errors import EvalError


class AnswerFileError(EvalError):
    """A file of answers is invalid; the message names the row and the reason."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Answers by (model, question id), one text per turn. `digest`: SHA-256 of the files' bytes."""

    answers: Mapping[tuple[str, str], tuple[str, ...]]
    digest: str

    @property
    def models(self) -> tuple[str, ...]:
        """The models with answers, in order of first occurrence."""
        return tuple(dict.fromkeys(model for model, _ in self.answers))

    def contestant(self, model: str) -> Contestant:
        """The model as a contestant whose answers are replayed."""
        return Contestant(
            model,
            f"file:{self.digest[:16]}",
            model,
            identity={"answers": self.digest},
            replayed={question: turns for (of, question), turns in self.answers.items() if of == model},
        )


def merged(*sources: Replayed | None) -> Replayed:
    """The union of the sources; the first that has an answer takes precedence."""
    there = [each for each in sources if each is not None]
    answers: dict[tuple[str, str], tuple[str, ...]] = {}
    for each in reversed(there):
        answers.update(each.answers)
    digest = hashlib.sha256("".join(each.digest for each in there).encode()).hexdigest()
    return there[0] if len(there) == 1 else Replayed(answers, digest)


def read_answers(path: Path) -> Replayed:
    """Read a JSONL or Parquet file of answers, or all of them in a folder.

    Raises:
        AnswerFileError: no files, an invalid row, or a duplicate answer.
    """
    files = (
        sorted(each for each in path.iterdir() if each.suffix in {".jsonl", ".parquet"})
        if path.is_dir()
        else [path]
    )
    if not files:
        raise AnswerFileError(f"{path}: the folder holds no .jsonl or .parquet file of answers")
    digest = hashlib.sha256()
    answers: dict[tuple[str, str], tuple[str, ...]] = {}
    for file in files:
        for place, row in _rows(file):
            model, question, turns = _answer(row, place)
            if answers.setdefault((model, question), turns) != turns:
                raise AnswerFileError(f"{place}: {model} answers {question} a second time")
        digest.update(file.read_bytes())
    if not answers:
        raise AnswerFileError(f"{path}: holds no answers")
    return Replayed(answers, digest.hexdigest())


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    if file.suffix != ".parquet":
        try:
            return read_rows(file)
        except JsonlError as error:
            raise AnswerFileError(str(error)) from error
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(file).to_pylist()
    except FileNotFoundError as error:
        raise AnswerFileError(f"{file}: cannot be read: no such file") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise AnswerFileError(f"{file}: is no Parquet file") from error
    return [(f"{file}:{number}", row) for number, row in enumerate(rows, start=1)]


def _answer(row: Mapping[str, Any], place: str) -> tuple[str, str, tuple[str, ...]]:
    question = row.get("question_id", row.get("uid"))
    model = row.get("model", row.get("model_id"))
    turns = _turns(row)
    if question is None or not isinstance(model, str) or turns is None:
        raise AnswerFileError(
            f"{place}: needs question_id (or uid), model (or model_id) and answer, turns, choices or messages"
        )
    return model, str(question), turns


def _turns(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The texts of a row in the flat, FastChat, or arena-hard-auto v0.1 or v2.0 format; else None."""
    try:
        if "answer" in row:
            said = [row["answer"]]
        elif "turns" in row:
            said = list(row["turns"])
        elif "choices" in row:
            said = list(row["choices"][0]["turns"])
        else:
            said = [each["content"] for each in row["messages"] if each["role"] == "assistant"]
    except (KeyError, IndexError, TypeError):
        return None
    texts = [_text(each) for each in said]
    return None if not texts or None in texts else tuple(text for text in texts if text is not None)


def _text(said: Any) -> str | None:
    if isinstance(said, Mapping):
        said = said.get("content", said.get("answer"))
    return said if isinstance(said, str) else None
