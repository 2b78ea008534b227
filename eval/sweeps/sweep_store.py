"""The database of sweeps (SQLite or PostgreSQL, separate from the service's): runs, and one row per item,
i.e. one prompt under one configuration. An interrupted run resumes from its rows."""

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
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column

from base.databases import DatabaseError, is_sqlite, parse_database_url, prepare_sqlite
from eval.errors import EvalError

DEFAULT = Path("var/eval/sweeps.db")
BUSY_MS = 30_000


class SweepStoreError(EvalError):
    """The database cannot be used; the message says what to do, without its password."""


class SweepBase(MappedAsDataclass, DeclarativeBase):
    """Declarative base of the sweeps' tables."""


class RunRow(SweepBase, kw_only=True):
    """A run of a sweep. `id`: the sweep's name and a digest of everything that its items depend on."""

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
    """The report, once finished."""


class ItemRow(SweepBase, kw_only=True):
    """One finished prompt under one configuration."""

    __tablename__ = "sweep_items"

    run_id: Mapped[str] = mapped_column(ForeignKey("sweep_runs.id"), primary_key=True)
    configuration: Mapped[str] = mapped_column(String(300), primary_key=True)
    uid: Mapped[str] = mapped_column(String(300), primary_key=True)
    category: Mapped[str] = mapped_column(String(200))
    score: Mapped[float | None] = mapped_column(default=None)
    expert: Mapped[str | None] = mapped_column(String(200), default=None)
    active_params_b: Mapped[float | None] = mapped_column(default=None)
    cost: Mapped[float | None] = mapped_column(default=None)
    """$ of the request, if tokens are known."""
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
    """Context manager, for one thread."""

    def __init__(self, url: str | None = None) -> None:
        """`url`: an SQLAlchemy URL or the path of an SQLite file. Raises SweepStoreError."""
        self._engine = _engine(url)

    def __enter__(self) -> Self:
        try:
            SweepBase.metadata.create_all(self._engine)
        except (SQLAlchemyError, OSError) as error:
            # The driver's message may hold the password.
            raise SweepStoreError(
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
        """Insert a run; False when it is there already."""
        details: dict[str, Any] = {
            "config": dict(config),
            "manifest": dict(manifest),
            "created_at": datetime.now(UTC),
        }
        with Session(self._engine) as session, session.begin():
            if session.get(RunRow, run_id) is not None:
                return False
            session.add(RunRow(id=run_id, name=name, kind=kind, **details))
            return True

    def add(self, items: Sequence[ItemRow]) -> None:
        """Insert items in one transaction, except existing ones."""
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
        """(configuration, uid) of the run's items."""
        query = select(ItemRow.configuration, ItemRow.uid).where(ItemRow.run_id == run_id)
        with self._engine.connect() as connection:
            return {(row.configuration, row.uid) for row in connection.execute(query)}

    def items(self, run_id: str) -> list[ItemRow]:
        """The items of a run, by configuration and uid."""
        query = select(ItemRow).where(ItemRow.run_id == run_id).order_by(ItemRow.configuration, ItemRow.uid)
        with Session(self._engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def finish(self, run_id: str, report: Mapping[str, Any]) -> None:
        """Store a run's report."""
        values = {"finished_at": datetime.now(UTC), "report": dict(report)}
        with self._engine.begin() as connection:
            connection.execute(update(RunRow).where(RunRow.id == run_id).values(**values))

    def run(self, run_id: str) -> RunRow | None:
        """The run with this id."""
        with Session(self._engine, expire_on_commit=False) as session:
            return session.get(RunRow, run_id)

    def runs(self) -> list[tuple[RunRow, int]]:
        """All runs with the number of their items, newest first."""
        count = select(ItemRow.run_id, func.count().label("n")).group_by(ItemRow.run_id).subquery()
        query = (
            select(RunRow, func.coalesce(count.c.n, 0))
            .outerjoin(count, count.c.run_id == RunRow.id)
            .order_by(RunRow.created_at.desc(), RunRow.id)
        )
        with Session(self._engine, expire_on_commit=False) as session:
            return [(row, int(n)) for row, n in session.execute(query)]

    def numbered(self, base: str, *, fresh: bool) -> str:
        """The id of the current run: `base`, or with `fresh` the next of `base.2`, `base.3`, …"""
        number, run_id = 1, base
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
        parsed = parse_database_url(text, where="--database")
        engine = create_engine(parsed, pool_pre_ping=True)
    except DatabaseError as error:
        raise SweepStoreError(str(error)) from None
    except ModuleNotFoundError as error:
        raise SweepStoreError(f"postgresql needs {error.name}: pip install 'coterie[postgres]'") from error
    if is_sqlite(parsed):
        prepare_sqlite(engine, BUSY_MS)
    return engine
