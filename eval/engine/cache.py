"""Answers kept in one SQLite file, so that nothing already answered or judged is asked or paid for twice.

An entry is found by its key, a digest of everything that the answer depends on; judgments are answers of
judges. Many runs may use one file at a time. Knows nothing of who asks.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BUSY_S = 30.0
"""How long to wait for another process that writes, seconds."""


class CacheError(Exception):
    """The file of answers cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `latency_s` is what the caller waited when it was asked for, seconds; tokens as the server
    says. `routing` is Coterie's decision."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0
    routing: Mapping[str, Any] | None = None


class Cache:
    """The answers of one file; use as a context manager, from one thread.

    Raises:
        CacheError: the file is no cache of ours, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS answers ("
                    "key TEXT PRIMARY KEY, server TEXT NOT NULL, model TEXT NOT NULL, "
                    "reply TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT (datetime('now'))) WITHOUT ROWID"
                )
                database.execute("SELECT key, reply FROM answers LIMIT 1")
            except BaseException:
                database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"{self._path}: cannot keep answers there ({error}); name another file, or move this one away"
            ) from error
        self._database = database
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __len__(self) -> int:
        (count,) = self._open.execute("SELECT count(*) FROM answers").fetchone()
        return int(count)

    def get(self, key: str) -> Reply | None:
        """The answer with this key, if there is one."""
        row = self._open.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return Reply(**json.loads(row[0]))
        except (ValueError, TypeError) as error:
            raise CacheError(f"{self._path}: the entry {key} is damaged; delete it") from error

    def add(self, key: str, reply: Reply, *, server: str, model: str) -> None:
        """Keep `reply`: when this returns, it has left the process."""
        document = json.dumps(asdict(reply), ensure_ascii=False, separators=(",", ":"))
        try:
            self._open.execute(
                "INSERT OR REPLACE INTO answers (key, server, model, reply) VALUES (?, ?, ?, ?)",
                (key, server, model, document),
            )
        except sqlite3.Error as error:
            raise CacheError(f"{self._path}: cannot keep an answer ({error})") from error

    @property
    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise CacheError(f"{self._path}: is not open")
        return self._database
