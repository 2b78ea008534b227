"""Sweeps in a database: every run, its configurations' summaries, one row an item. SQLite or PostgreSQL.

An item is one prompt under one configuration. Its primary key is what keeps it from being written twice,
and a run that was killed is gone on with from the rows that are there. Evaluation is a client of the
service, so this is a small database of its own and not the service's.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    JSON,
    DateTime,
    Engine,
    ForeignKey,
    String,
    Text,
    create_engine,
    event,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column

DEFAULT = Path("var/eval/sweeps.db")
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
BUSY_MS = 30_000


class StoreError(Exception):
    """The database cannot be used; the message says what to do, without its password."""


class Base(MappedAsDataclass, DeclarativeBase):
    """The tables of sweeps."""


class RunRow(Base, kw_only=True):
    """One run of one sweep. `id` is the sweep's name and a digest of everything its items depend on."""

    __tablename__ = "sweep_runs"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Code version, digests of data and compositions, seeds."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), default=None)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """The table and the picture's numbers, once finished."""


class ItemRow(Base, kw_only=True):
    """One prompt under one configuration, done."""

    __tablename__ = "sweep_items"

    run_id: Mapped[str] = mapped_column(ForeignKey("sweep_runs.id"), primary_key=True)
    configuration: Mapped[str] = mapped_column(String(300), primary_key=True)
    uid: Mapped[str] = mapped_column(String(300), primary_key=True)
    category: Mapped[str] = mapped_column(String(200))
    score: Mapped[float | None] = mapped_column(default=None)
    expert: Mapped[str | None] = mapped_column(String(200), default=None)
    active_params_b: Mapped[float | None] = mapped_column(default=None)
    price: Mapped[float | None] = mapped_column(default=None)
    """$ per million tokens of what answered, as in a replay."""
    cost: Mapped[float | None] = mapped_column(default=None)
    """Dollars that the request cost, where tokens are known."""
    latency_s: Mapped[float | None] = mapped_column(default=None)
    reason: Mapped[str | None] = mapped_column(String(64), default=None)
    """The decision's reason."""
    error: Mapped[str | None] = mapped_column(String(128), default=None)
    """Why there is no score."""
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default_factory=lambda: datetime.now(UTC)
    )


class SweepStore:
    """The database; use as a context manager, from one thread."""

    def __init__(self, url: str | None = None) -> None:
        """`url`: an SQLAlchemy URL or a path of an SQLite file. Raises StoreError."""
        self._engine = _engine(url)

    def __enter__(self) -> Self:
        try:
            Base.metadata.create_all(self._engine)
        except (SQLAlchemyError, OSError) as error:
            # The driver's message may hold the password.
            raise StoreError(
                f"the database {self.shown} cannot be used ({type(error).__name__}): check --database"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    def begin(
        self, run_id: str, *, name: str, kind: str, config: Mapping[str, Any], manifest: Mapping[str, Any]
    ) -> bool:
        """Note a run; False when it was begun before and is gone on with."""
        with Session(self._engine) as session, session.begin():
            if session.get(RunRow, run_id) is not None:
                return False
            session.add(
                RunRow(
                    id=run_id,
                    name=name,
                    kind=kind,
                    config=dict(config),
                    manifest=dict(manifest),
                    created_at=datetime.now(UTC),
                )
            )
            return True

    def add(self, items: Sequence[ItemRow]) -> None:
        """Write items in one transaction; one that is there already stays as it was. When this returns
        they are written."""
        if not items:
            return
        values = [
            {column.key: getattr(item, column.key) for column in ItemRow.__mapper__.column_attrs}
            for item in items
        ]
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(ItemRow).on_conflict_do_nothing()
        with self._engine.begin() as connection:
            connection.execute(statement, values)

    def done(self, run_id: str) -> set[tuple[str, str]]:
        """(configuration, uid) of every item of the run that is written."""
        query = select(ItemRow.configuration, ItemRow.uid).where(ItemRow.run_id == run_id)
        with self._engine.connect() as connection:
            return {(row.configuration, row.uid) for row in connection.execute(query)}

    def items(self, run_id: str) -> list[ItemRow]:
        """Every item of a run, by configuration and uid."""
        query = select(ItemRow).where(ItemRow.run_id == run_id).order_by(ItemRow.configuration, ItemRow.uid)
        with Session(self._engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def finish(self, run_id: str, report: Mapping[str, Any]) -> None:
        """Note a run's report."""
        with self._engine.begin() as connection:
            connection.execute(
                update(RunRow)
                .where(RunRow.id == run_id)
                .values(finished_at=datetime.now(UTC), report=dict(report))
            )

    def run(self, run_id: str) -> RunRow | None:
        """The run with this id."""
        with Session(self._engine, expire_on_commit=False) as session:
            return session.get(RunRow, run_id)

    def runs(self) -> list[tuple[RunRow, int]]:
        """Every run with the number of its items, newest first."""
        count = select(ItemRow.run_id, func.count().label("n")).group_by(ItemRow.run_id).subquery()
        query = (
            select(RunRow, func.coalesce(count.c.n, 0))
            .outerjoin(count, count.c.run_id == RunRow.id)
            .order_by(RunRow.created_at.desc(), RunRow.id)
        )
        with Session(self._engine, expire_on_commit=False) as session:
            return [(row, int(n)) for row, n in session.execute(query)]

    def numbered(self, base: str, *, fresh: bool) -> str:
        """The id to run under: `base`, or with `fresh` the first `base.2`, `base.3`, … that is new."""
        number = 1
        run_id = base
        with Session(self._engine) as session:
            known = set(session.scalars(select(RunRow.id).where(RunRow.id.startswith(base, autoescape=True))))
        while f"{base}.{number + 1}" in known or (fresh and run_id in known):
            number += 1
            run_id = f"{base}.{number}"
        return run_id


def _engine(url: str | None) -> Engine:
    text = url or f"sqlite:///{DEFAULT}"
    if "://" not in text:
        text = f"sqlite:///{text}"
    try:
        parsed = make_url(text)
    except ArgumentError:
        raise StoreError("--database is no database URL and no file") from None
    parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.drivername not in DRIVERS.values():
        raise StoreError(f"no support for {parsed.drivername} databases: use sqlite or postgresql")
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("SQLite needs a file: a sweep has to survive a kill")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreError(f"postgresql needs {error.name}: pip install 'coterie[postgres]'") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
