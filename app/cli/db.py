"""`coterie db`."""

import asyncio

import typer

from app.cli.command_settings import read_settings
from base.terminal import fail

app = typer.Typer(help="The database of decisions and feedback.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The database of decisions and feedback (COTERIE_DATABASE_URL)."""


@app.command("upgrade")
def upgrade() -> None:
    """Bring the database's tables to this version.

    The embedded SQLite database is upgraded when the service starts; run this for PostgreSQL, once after
    each upgrade of Coterie, before starting it.

    Example: `COTERIE_DATABASE_URL=postgresql://coterie@db/coterie coterie db upgrade`
    """
    settings = read_settings()
    asyncio.run(_upgrade(settings.database))


async def _upgrade(url: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from app.storage.database import Database
    from app.storage.schema import upgrade
    from base.databases import DatabaseError

    try:
        database = Database(url)
        try:
            before, after = await upgrade(database)
        finally:
            await database.close()
    except DatabaseError as error:
        fail(error)
    except (SQLAlchemyError, OSError) as error:
        # The driver's message may hold the password.
        fail(f"the database does not answer ({type(error).__name__}): check COTERIE_DATABASE_URL")
    if before == after:
        typer.echo(f"{database.shown}: already at {after}")
    else:
        typer.echo(f"{database.shown}: upgraded from {before or 'nothing'} to {after}")
