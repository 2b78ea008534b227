"""Answers kept on disk as they come, found by what they depend on: a build that was killed goes on.

One SQLite file. It holds digests of the questions and the texts of the answers.
"""

import hashlib
import json
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from prompts.mixture.call_budget import Ask, Completion, Messages
from prompts.mixture.mixture import MixtureError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""

LOCKED_S = 30.0
"""How long to wait for another process that writes."""


class AnswerCache:
    """The answers of one file; several processes may use it at once. Use as a context manager.

    Raises:
        MixtureError: the file cannot be opened, is no such cache, or is held by another process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise MixtureError(f"{path}: the cache of answers cannot be opened: {_reason(error)}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            if _is_no_cache(error):
                raise MixtureError(f"{path}: is no cache of answers: name another file") from error
            why = f"cannot be used: {_reason(error)}: mend that, or name another file"
            raise MixtureError(f"{path}: the cache of answers {why}") from error

    def _prepare(self) -> None:
        """Raises sqlite3.Error."""
        if self._db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            deadline = time.monotonic() + LOCKED_S
            while not self._write_ahead(last=time.monotonic() > deadline):
                time.sleep(0.02)
        # A power cut may lose the last answers, never the file.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)
        self._db.execute("SELECT key, text, prompt_tokens, completion_tokens FROM answers LIMIT 1")

    def _write_ahead(self, *, last: bool) -> bool:
        """Switch to a write-ahead log. This alone does not wait while another process does the same: then
        False, or the `last` time sqlite3.OperationalError."""
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._db.close()

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def get(self, key: str) -> Completion | None:
        """The answer kept under `key`, marked as cached; None without one."""
        try:
            row = self._db.execute(
                "SELECT text, prompt_tokens, completion_tokens FROM answers WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as error:
            raise MixtureError(
                f"{self._path}: the cache of answers cannot be read: {_reason(error)}"
            ) from error
        return Completion(row[0], row[1], row[2], cached=True) if row else None

    def put(self, key: str, answer: Completion) -> None:
        """Keep an answer; one that is there already stays."""
        try:
            self._db.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)",
                (key, answer.text, answer.prompt_tokens, answer.completion_tokens),
            )
        except sqlite3.Error as error:
            raise MixtureError(
                f"{self._path}: an answer cannot be kept: {_reason(error)}: mend that, and the same build "
                "goes on with the answers before it"
            ) from error


def _is_no_cache(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or one with other tables."""
    return error.sqlite_errorcode in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def _reason(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class CachedAsk:
    """An `Ask` that asks `ask` only what `cache` does not have. `identity` is all that is known of the
    model: another model, or other defaults of sampling, must have another. Refusals are not kept; empty
    answers are once the model has said something: one that is silent may be mended, and asked again."""

    def __init__(self, ask: Ask, cache: AnswerCache, identity: str) -> None:
        self._ask = ask
        self._cache = cache
        self._identity = identity
        self._heard = False
        self._empty: dict[str, Completion] = {}

    async def __call__(
        self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
    ) -> Completion:
        key = call_key(self._identity, messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        if (known := self._cache.get(key)) is not None:
            return known
        answer = await self._ask(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        self._heard = self._heard or bool(answer.text.strip())
        if not self._heard:
            self._empty[key] = answer
            return answer
        for each, empty in self._empty.items():
            self._cache.put(each, empty)
        self._empty.clear()
        self._cache.put(key, answer)
        return answer


def call_key(identity: str, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> str:
    """SHA-256 of everything that an answer depends on."""
    document = {
        "model": identity,
        "messages": [dict(message) for message in messages],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
