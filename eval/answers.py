"""Answers kept on disk as they come, so that nothing already answered is asked or paid for twice.

The store is one JSONL file, only ever appended to. An answer is found by its key: a digest of everything
that it depends on (which expert, which messages, which sampling), not of when or for what it was asked.
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from base.json_documents import json_digest


class StoreError(Exception):
    """The file of answers cannot be used; the message says why."""


class Answer(BaseModel):
    """One reply of one expert. `latency_s` is what the caller waited, seconds; tokens as the server says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    expert: str
    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float


def answer_key(
    identity: Mapping[str, Any], messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]
) -> str:
    """A SHA-256 of what an answer depends on. `identity` is everything known of the expert."""
    document = {"expert": dict(identity), "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    return json_digest(document)


class AnswerStore:
    """The answers of one file, open for one process at a time; use as a context manager.

    A last line that was cut off by a kill is dropped; any other line that is no answer is an error.

    Raises:
        StoreError: another process holds the file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, Answer] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        try:
            self._load(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """The answer with this key, if there is one."""
        return self._answers.get(key)

    def add(self, answer: Answer) -> None:
        """Keep `answer`: when this returns, it has left the process."""
        if self._file is None:
            raise StoreError(f"{self._path}: is not open")
        self._file.write(answer.model_dump_json().encode() + b"\n")
        self._file.flush()
        self._answers[answer.key] = answer

    def _load(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{self._path}: another run is writing here; let it finish or stop it"
            ) from error
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        file.seek(0, os.SEEK_END)
        for number, line in enumerate(content[:whole].split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                answer = Answer.model_validate_json(line)
            except ValidationError as error:
                raise StoreError(
                    f"{self._path}:{number}: is no answer; delete that line, or the file to ask again"
                ) from error
            self._answers[answer.key] = answer
