"""The version of the database's tables: read it, check it, upgrade it with Alembic."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from app.storage.database import Database
from base.databases import DatabaseError, is_sqlite

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


class OutdatedSchema(DatabaseError):
    """The tables are not those of this version of Coterie."""


async def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the tables to this version; returns the revision before (None: empty) and after."""
    async with database.engine.begin() as connection:
        return await connection.run_sync(_upgrade)


async def ensure(database: Database) -> tuple[str | None, str]:
    """Check the tables at start: SQLite, the embedded database, is upgraded; others must be current.

    Returns the revision before and after. Raises OutdatedSchema with the command to run.
    """
    async with database.engine.connect() as connection:
        current, head, known = await connection.run_sync(_revisions)
    if current == head:
        return current, head
    if current is not None and not known:
        raise OutdatedSchema(
            f"the database was upgraded by a newer Coterie (its schema {current} is unknown here): "
            "run that version, or restore a backup"
        )
    if is_sqlite(database.url):
        return await upgrade(database)
    state = "has no tables yet" if current is None else f"has schema {current}, this version needs {head}"
    raise OutdatedSchema(f"the database {state}: run `coterie db upgrade` once, then start again")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revisions(connection: Connection) -> tuple[str | None, str, bool]:
    """The database's revision, the newest one, and whether the former is known to this version. Read without
    Alembic: importing it would be the better part of opening a database that is current."""
    known = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*_*.py"))
    if not known:
        raise DatabaseError(f"no migrations in {MIGRATIONS}")
    current: str | None = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return current, known[-1], current in known


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    from alembic import command

    before, head, known = _revisions(connection)
    if before is not None and not known:
        raise OutdatedSchema(f"the database's schema {before} is of a newer Coterie: nothing was changed")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before, head
