"""The databases that we keep things in: an SQLite file or PostgreSQL, behind SQLAlchemy."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


class DatabaseError(Exception):
    """The database cannot be used as configured; the message says what to do, without the password."""


def parse_database_url(text: str, *, where: str, sqlite_driver: str = "sqlite") -> URL:
    """A URL with our drivers for plain `sqlite://` and `postgresql://`. `where` it was given, for errors.

    Raises DatabaseError.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        # The URL itself may hold a password: it is not repeated.
        raise DatabaseError(f"{where} is not a database URL") from None
    drivers = {
        "sqlite": sqlite_driver,
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
    }
    url = url.set(drivername=drivers.get(url.drivername, url.drivername))
    if url.drivername not in drivers.values():
        raise DatabaseError(f"no support for {url.drivername} databases: use sqlite or postgresql")
    if is_sqlite(url) and url.database in {None, "", ":memory:"}:
        raise DatabaseError("SQLite needs a file: what is kept has to survive a restart")
    return url


def is_sqlite(url: URL) -> bool:
    """Whether the URL names an SQLite file."""
    return url.get_backend_name() == "sqlite"


def prepare_sqlite(engine: Engine, busy_ms: int) -> None:
    """Make the file's folder, and prepare each connection; a lock is waited for `busy_ms` at most.

    WAL lets readers go on while the writer writes; NORMAL is safe against a crash of the process.
    """

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {busy_ms}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    Path(engine.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", prepare)
