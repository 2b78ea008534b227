"""Database URLs, and how SQLite files are opened."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from base.databases import DatabaseError, parse_database_url, prepare_sqlite


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("postgres://me@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg"),
    ],
)
def test_plain_schemes_get_our_drivers(url: str, driver: str) -> None:
    found = parse_database_url(url, where="--database", sqlite_driver="sqlite+aiosqlite")
    assert found.drivername == driver


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("my-secret", "--database is not a database URL"),
        ("mysql://me:my-secret@host/db", "no support for mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_password(url: str, said: str) -> None:
    with pytest.raises(DatabaseError, match=said) as caught:
        parse_database_url(url, where="--database")
    assert "my-secret" not in str(caught.value)


def test_an_sqlite_file_is_read_while_it_is_written(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/deep/a.db")
    prepare_sqlite(engine, 1234)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 1234
    engine.dispose()
