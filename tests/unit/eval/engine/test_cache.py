"""Answers are kept by content, for all runs at once, and survive."""

import sqlite3
from pathlib import Path

import pytest

from eval.engine.cache import Cache, CacheError, Reply

REPLY = Reply("four", "stop", 3, 1, 0.25, {"expert": "small", "reason": "matched"})


def test_a_kept_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    with Cache(tmp_path / "answers.sqlite") as cache:
        cache.add("key", REPLY, server="http://here/v1", model="small")

    with Cache(tmp_path / "answers.sqlite") as again:
        assert again.get("key") == REPLY
        assert again.get("other") is None
        assert len(again) == 1


def test_two_runs_use_one_file_at_a_time(tmp_path: Path) -> None:
    with Cache(tmp_path / "answers.sqlite") as one, Cache(tmp_path / "answers.sqlite") as other:
        one.add("a", REPLY, server="s", model="m")
        other.add("b", REPLY, server="s", model="m")

        assert one.get("b") == other.get("a") == REPLY


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at as one" * 20)

    with pytest.raises(CacheError, match=r"notes\.txt.*name another file"):
        Cache(path).__enter__()

    assert path.read_text().startswith("not a database")


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with Cache(path) as cache:
        cache.add("key", REPLY, server="s", model="m")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET reply = '{'")
    database.close()

    with Cache(path) as cache, pytest.raises(CacheError, match="entry key is damaged"):
        cache.get("key")


def test_a_closed_cache_says_so(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="is not open"):
        Cache(tmp_path / "answers.sqlite").get("key")
