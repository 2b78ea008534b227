"""Alembic's entry: runs on the connection that `app.storage.schema` hands over, or, from the `alembic`
command, on the database of the settings."""

import asyncio
from typing import Literal

from alembic import context
from sqlalchemy import Connection

from app.storage.rows import TableBase, UtcDateTime


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """A migration outlives our classes: it names SQLAlchemy's own type instead."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    """Run the migrations in one transaction. `render_as_batch` lets SQLite alter tables."""
    context.configure(
        connection=connection,
        target_metadata=TableBase.metadata,
        render_as_batch=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_configured() -> None:
    """For `alembic revision --autogenerate` and friends."""
    from app.settings import Settings
    from app.storage.database import Database

    database = Database(Settings().database)
    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await database.close()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(migrate_configured())
