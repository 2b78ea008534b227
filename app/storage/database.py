"""One database, SQLite or PostgreSQL, behind SQLAlchemy's asyncio engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite itself waits for a lock before it says `database is locked`."""
POOL_SIZE = 5

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class DatabaseError(Exception):
    """The database cannot be used as configured; the message says what to do, without the password."""


def database_url(text_url: str) -> URL:
    """Parse a URL, with our drivers for plain `sqlite://` and `postgresql://`. Raises DatabaseError."""
    try:
        url = make_url(text_url)
    except ArgumentError:
        # The URL itself may hold a password: it is not repeated.
        raise DatabaseError("COTERIE_DATABASE_URL is not a database URL") from None
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    if url.drivername not in DRIVERS.values():
        raise DatabaseError(f"no support for {url.drivername} databases: use sqlite or postgresql")
    if is_sqlite(url) and url.database in {None, "", ":memory:"}:
        raise DatabaseError("SQLite needs a file: decisions have to survive a restart")
    return url


def is_sqlite(url: URL) -> bool:
    """Whether the URL names an SQLite file."""
    return url.get_backend_name() == "sqlite"


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: a lock, a lost connection, a restarting server."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


class Database:
    """The engine and its sessions. Opening it connects to nothing yet."""

    def __init__(self, url: str) -> None:
        self.url = database_url(url)
        try:
            self.engine = _engine(self.url)
        except ModuleNotFoundError as error:
            raise DatabaseError(
                f"{self.url.get_backend_name()} needs {error.name}: pip install 'coterie[postgres]'"
            ) from error
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @property
    def shown(self) -> str:
        """The URL for logs: without its password."""
        return self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        async with self.sessions() as session:
            yield session

    async def ping(self) -> None:
        """One round trip; raises what the driver raises."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def _engine(url: URL) -> AsyncEngine:
    if not is_sqlite(url):
        return create_async_engine(url, pool_size=POOL_SIZE, max_overflow=0, pool_pre_ping=True)
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=POOL_SIZE, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL lets readers go on while the writer writes; NORMAL is safe against a crash of the process."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
