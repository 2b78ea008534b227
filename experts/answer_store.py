"""Answers and judgments kept in one SQLite file, so that nothing is asked or paid for twice.

An answer is found by a digest of all that it depends on. All commands share `default_store()`; several
processes may write at once. Knows nothing of how anybody is asked.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from base.json_documents import json_digest
from base.jsonl import JsonlError, parse_row, read_lines
from base.reply import Reply

BUSY_S = 30.0
"""How long to wait for another process that writes, seconds."""

_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, server TEXT NOT NULL, model TEXT NOT NULL, reply TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (datetime('now'))
) WITHOUT ROWID"""
_INSERT = "INSERT OR {} INTO answers (key, server, model, reply) "
# `coterie prompts build` kept texts and tokens in columns of a table of the same name.
_FROM_COLUMNS = """SELECT key, '', '', json_object(
    'text', text, 'prompt_tokens', prompt_tokens, 'completion_tokens', completion_tokens
) FROM """

EARLIER_PLACES = ("eval/cache/answers.sqlite", "prompts/answers.sqlite")
"""Where commands kept answers before they shared a file, within the folder of run-time data."""


_UNREADABLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_ERROR}
"""Errors by an earlier file itself; others, such as a full disk, are about the new one."""


class StoreError(Exception):
    """The file of answers cannot be used; the message says why and what to do."""


def default_store(data: Path | None = None) -> Path:
    """The file that all commands share: `answers.sqlite` in `data`, or in `COTERIE_DATA`, or in `var`."""
    return (data or Path(os.environ.get("COTERIE_DATA") or "var")) / "answers.sqlite"


def answer_key(
    identity: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], sampling: Mapping[str, Any]
) -> str:
    """SHA-256 of what an answer depends on. `identity` is all that is known of who answers."""
    return json_digest(
        {"expert": dict(identity), "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    )


class AnswerStore:
    """The answers of one file; use as a context manager, from one thread.

    A file that `coterie prompts build` wrote before is converted; a new default store begins with what the
    commands kept in `EARLIER_PLACES`.

    Raises:
        StoreError: the file holds something else, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            try:
                _prepare(database)
                if self._path == default_store(self._path.parent):
                    _adopt_earlier(database, self._path.parent)
            except BaseException:
                database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
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
        return int(self._execute("SELECT count(*) FROM answers").fetchone()[0])

    def get(self, key: str) -> Reply | None:
        """The answer with this key, if there is one."""
        row = self._execute("SELECT reply FROM answers WHERE key = ?", key).fetchone()
        if row is None:
            return None
        try:
            return Reply.of(json.loads(row[0]), kept=True)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self._path}: the entry {key} is damaged; delete it") from error

    def add(self, key: str, reply: Reply, *, server: str, model: str) -> None:
        """Keep `reply` in place of an earlier one: when this returns, it has left the process. Server and
        model are for people who look into the file."""
        document = json.dumps(reply.document(), ensure_ascii=False, separators=(",", ":"))
        self._execute(_INSERT.format("REPLACE") + "VALUES (?, ?, ?, ?)", key, server, model, document)

    def discard(self, keys: Iterable[str]) -> None:
        """Forget the answers with these keys."""
        for key in keys:
            self._execute("DELETE FROM answers WHERE key = ?", key)

    def _execute(self, statement: str, *values: str) -> sqlite3.Cursor:
        if self._database is None:
            raise StoreError(f"{self._path}: is not open")
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: the file of answers cannot be used ({error})") from error


def _prepare(database: sqlite3.Connection) -> None:
    """Raises sqlite3.Error."""
    deadline = time.monotonic() + BUSY_S
    while not _write_ahead(database, last=time.monotonic() > deadline):
        time.sleep(0.02)
    # A power cut may lose the last answers, never the file.
    database.execute("PRAGMA synchronous=NORMAL")
    columns = _columns(database)
    if {"key", "text", "prompt_tokens", "completion_tokens"} == columns:
        # In one transaction, and only if no other process has done it since.
        database.execute("BEGIN IMMEDIATE")
        if "text" in _columns(database):
            database.execute("ALTER TABLE answers RENAME TO texts")
            database.execute(_TABLE)
            database.execute(_INSERT.format("IGNORE") + _FROM_COLUMNS + "texts")
            database.execute("DROP TABLE texts")
        database.execute("COMMIT")
    database.execute(_TABLE)
    database.execute("SELECT key, server, model, reply FROM answers LIMIT 1")


def _write_ahead(database: sqlite3.Connection, *, last: bool) -> bool:
    """Switch to a write-ahead log. This alone does not wait while another process does the same: then False,
    or the `last` time sqlite3.OperationalError."""
    try:
        database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _columns(database: sqlite3.Connection, schema: str = "main") -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA {schema}.table_info(answers)")}


def _adopt_earlier(database: sqlite3.Connection, data: Path) -> None:
    """Copy the answers of `EARLIER_PLACES`, once and all together; `user_version` says that it was done.
    Raises sqlite3.Error, and StoreError about an earlier file."""
    if _is_adopted(database):
        return
    earlier = [path for path in (data / place for place in EARLIER_PLACES) if path.is_file()]
    for number, path in enumerate(earlier):
        with _earlier(path):
            database.execute(f"ATTACH ? AS earlier{number}", (str(path),))
    database.execute("BEGIN IMMEDIATE")
    if not _is_adopted(database):  # another process may have done it while this one waited
        for number, path in enumerate(earlier):
            with _earlier(path):
                columns = _columns(database, f"earlier{number}")
                what = "SELECT key, server, model, reply FROM " if "reply" in columns else _FROM_COLUMNS
                if columns:
                    database.execute(_INSERT.format("IGNORE") + what + f"earlier{number}.answers")
        database.execute("PRAGMA user_version = 1")
    database.execute("COMMIT")
    for number in range(len(earlier)):
        database.execute(f"DETACH earlier{number}")


@contextmanager
def _earlier(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in _UNREADABLE:
            raise
        raise StoreError(
            f"{path}: the answers that were kept there cannot be read ({error}); move the file away to do "
            "without them"
        ) from error


def _is_adopted(database: sqlite3.Connection) -> bool:
    return bool(database.execute("PRAGMA user_version").fetchone()[0])


def read_exported(path: Path) -> dict[str, Reply]:
    """The answers of `answers.jsonl` beside a scored table, or of a file that `coterie eval personas` kept
    before, by their keys; none when there is no such file. An unfinished last line is passed over.

    Raises:
        StoreError: another line is no answer.
    """
    found = {}
    try:
        for place, line in read_lines(path, unfinished=True) if path.exists() else ():
            row = parse_row(line, place)
            try:
                found[str(row["key"])] = Reply.of(row, kept=True)
            except (KeyError, TypeError) as error:
                raise StoreError(f"{place}: is no answer; delete that line") from error
    except JsonlError as error:
        raise StoreError(f"{error}; delete that line") from error
    return found
