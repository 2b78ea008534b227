"""One database, SQLite or PostgreSQL, behind SQLAlchemy's asyncio engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from base.databases import DatabaseError, is_sqlite, parse_database_url, prepare_sqlite
from base.json_documents import json_bytes

BUSY_TIMEOUT_MS = 5_000
"""SQLite's busy timeout, in ms."""
POOL_SIZE = 5


def database_url(text_url: str) -> URL:
    """The service's database. Raises DatabaseError."""
    return parse_database_url(text_url, where="COTERIE_DATABASE_URL", sqlite_driver="sqlite+aiosqlite")


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
        return create_async_engine(
            url, json_serializer=_json, pool_size=POOL_SIZE, max_overflow=0, pool_pre_ping=True
        )
    engine = create_async_engine(url, json_serializer=_json, pool_size=POOL_SIZE, max_overflow=0)
    prepare_sqlite(engine.sync_engine, BUSY_TIMEOUT_MS)
    return engine


def _json(value: Any) -> str:
    """A JSON column's text."""
    return json_bytes(value).decode()
