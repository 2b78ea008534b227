"""What the parent has run in other processes: light to import, so that the parent stays small."""

from multiprocessing.connection import Connection

from app.settings import Settings
from app.workers.place import Place


def run_worker(settings: Settings, place: Place) -> None:
    """Serve until the parent says to stop, or is gone."""
    from app.workers.worker import work

    work(settings, place)


def upgrade_database(settings: Settings, told: Connection) -> None:
    """Bring the tables to this version once, before any worker looks; `told` hears why it cannot be done, or
    None."""
    import asyncio

    from app.errors import StartError
    from app.startup import upgrade_tables
    from app.telemetry.logs import configure_logs

    configure_logs(settings.log_level, settings.log_format)
    try:
        asyncio.run(upgrade_tables(settings))
    except StartError as error:
        told.send(str(error))
    else:
        told.send(None)
