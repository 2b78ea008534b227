"""How a batch of new rows gets into the database: past SQLAlchemy's parameters, which cost more than they.

SQLite takes tuples. PostgreSQL takes a binary COPY; a batch that a COPY does not take, since one of its rows
is there already or is bad, is inserted instead. Knows nothing of queues and retries.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.database import Database, is_transient
from app.storage.rows import TABLES, MarkRow, NewRow, TableBase, UtcDateTime, column_names
from base.databases import is_sqlite
from base.json_documents import json_bytes

PREPARED_AT_ONCE = 100
"""Rows that are prepared before requests have their turn: a millisecond or two."""
IF_THERE: Mapping[type[TableBase], str] = {
    MarkRow: "(mark, expert) DO UPDATE SET category = excluded.category, seen_at = excluded.seen_at, "
    "replica = excluded.replica",
}
"""What becomes of a row that is there already; of other tables it stays, since a commit whose answer was lost
is tried again."""

Values = Mapping[str, Any]
"""Of a row, by column; one that is left out has its default."""


class BatchWriter:
    """Writes batches, each in one transaction."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._sqlite = is_sqlite(database.url)
        dialect = database.engine.dialect
        self._targets = {table: _Target(table, dialect) for table in (*TABLES, MarkRow)}

    async def write(self, batch: Sequence[NewRow]) -> None:
        """Write rows, pass over ids that are there already, and bring marks up to date. Raises SQLAlchemy's
        errors, and TypeError or ValueError for what is no value of its column; then nothing was written."""
        if self._sqlite:
            return await self._write(batch, _insert)
        try:
            await self._write(batch, _copy)
        except Exception as error:  # whatever it is that a COPY does not take
            if is_transient(error):
                raise
            await self._write(batch, _insert)

    async def _write(
        self,
        batch: Sequence[NewRow],
        put: Callable[[AsyncConnection, "_Target", Sequence[Values]], Awaitable[None]],
    ) -> None:
        # One mark of each, since PostgreSQL changes no row twice in a statement; in one order, since two
        # workers that write the same marks would else wait for each other.
        marks = {(mark.mark, mark.expert): mark for row in batch for mark in row.marks}
        ordered = [marks[key]._asdict() for key in sorted(marks)]
        async with self._engine.begin() as connection:
            for table in TABLES:
                if rows := [row.values for row in batch if row.table is table]:
                    await put(connection, self._targets[table], rows)
            if ordered:
                put_marks = _insert if self._sqlite else _insert_arrays
                await put_marks(connection, self._targets[MarkRow], ordered)


class _Target:
    """A table, as one database is told to write it."""

    def __init__(self, table: type[TableBase], dialect: Dialect) -> None:
        columns = table.__table__.columns
        names, sign = ", ".join(column_names(table)), "?" if dialect.paramstyle == "qmark" else "%s"
        self.types = [column.type.compile(dialect).partition("(")[0].lower() for column in columns]
        begin = f"INSERT INTO {table.__tablename__} ({names})"
        end = f"ON CONFLICT {IF_THERE.get(table, 'DO NOTHING')}"
        self.insert = f"{begin} VALUES ({', '.join([sign] * len(columns))}) {end}"
        arrays = ", ".join(f"%b::{kind}[]" for kind in self.types)
        self.insert_arrays = f"{begin} SELECT * FROM unnest({arrays}) {end}"
        self.copy = f"COPY {table.__tablename__} ({names}) FROM STDIN (FORMAT BINARY)"
        # JSON is text on its way: the driver would make JSON of it once more.
        self.copied = ["text" if kind == "json" else kind for kind in self.types]
        self._defaults = {column.name: getattr(column.default, "arg", None) for column in columns}
        self._in_order = itemgetter(*self._defaults)
        self._conversions: list[tuple[int, Callable[[Any], object]]] = []
        for place, column in enumerate(columns):
            if isinstance(column.type, JSON):
                self._conversions.append((place, _json))
            elif isinstance(column.type, UtcDateTime):
                convert = column.type.dialect_impl(dialect).bind_processor(dialect)
                if convert is not None:
                    self._conversions.append((place, convert))

    async def prepared(self, rows: Sequence[Values]) -> AsyncIterator[list[Sequence[object]]]:
        """What the driver is given of rows, in the order of the columns, some rows at once. Raises TypeError
        for a value that has no column."""
        for start in range(0, len(rows), PREPARED_AT_ONCE):
            yield [self._prepare(row) for row in rows[start : start + PREPARED_AT_ONCE]]
            await asyncio.sleep(0)

    def _prepare(self, row: Values) -> Sequence[object]:
        known = {**self._defaults, **row}
        if len(known) != len(self._defaults):
            raise TypeError(f"there is no column {min(known.keys() - self._defaults.keys())}")
        values = list(self._in_order(known))
        for place, convert in self._conversions:
            if values[place] is not None:
                values[place] = convert(values[place])
        return tuple(values)


def _json(value: Any) -> str:
    return json_bytes(value).decode()


async def _insert(connection: AsyncConnection, target: _Target, rows: Sequence[Values]) -> None:
    prepared = [row async for piece in target.prepared(rows) for row in piece]
    await connection.exec_driver_sql(target.insert, prepared)


async def _insert_arrays(connection: AsyncConnection, target: _Target, rows: Sequence[Values]) -> None:
    """For PostgreSQL: an array of each column in place of a parameter for each value."""
    prepared = [row async for piece in target.prepared(rows) for row in piece]
    columns = tuple([list(column) for column in zip(*prepared, strict=True)])
    await connection.exec_driver_sql(target.insert_arrays, columns)


async def _copy(connection: AsyncConnection, target: _Target, rows: Sequence[Values]) -> None:
    """For PostgreSQL. Takes none of the rows when one of them is there already."""
    import psycopg

    driver: Any = (await connection.get_raw_connection()).driver_connection
    try:
        async with driver.cursor() as cursor, cursor.copy(target.copy) as copy:
            copy.set_types(target.copied)
            async for piece in target.prepared(rows):
                for row in piece:
                    await copy.write_row(row)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise OperationalError("COPY", None, error) from error
    except psycopg.Error as error:
        raise DBAPIError("COPY", None, error) from error
