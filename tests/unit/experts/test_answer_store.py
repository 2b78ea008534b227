"""Answers are kept by content, for all commands and processes at once, and survive; older files are read."""

import json
import resource
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.reply import Reply
from base.usage import TokenUsage
from experts.answer_store import AnswerStore, StoreError, answer_key, default_store, read_exported

REPLY = Reply(
    "four", "stop", TokenUsage(3, 1, 2, 0), 0.25, {"expert": "small", "reason": "matched"}, {"content": []}
)
MESSAGES = [{"role": "user", "content": "2 + 2?"}]
SAMPLING = {"temperature": 0.0, "max_tokens": 8}


def add(store: AnswerStore, key: str, reply: Reply = REPLY) -> None:
    store.add(key, reply, server="http://here/v1", model="small")


def test_a_kept_answer_comes_back_as_it_was_until_it_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.sqlite"
    with AnswerStore(path) as store:
        add(store, "key")
    with AnswerStore(path) as again:
        found = again.get("key")
        assert found == REPLY
        assert found.kept and not REPLY.kept
        assert again.get("other") is None
        again.discard(["key", "other"])
        assert again.get("key") is None and len(again) == 0


@given(st.text() | st.just("half \ud83d of it"))
def test_any_text_can_be_kept_and_reads_the_same_when_it_was_not(text: str) -> None:
    reply = Reply(text)
    assert Reply.of(json.loads(json.dumps(reply.document()))) == reply
    reply.text.encode()


def test_two_processes_use_one_file_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as one, AnswerStore(path) as other:
        add(one, "a")
        add(other, "b")
        assert one.get("b") == other.get("a") == REPLY


def test_stores_that_are_opened_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    """Switching a new file to a write-ahead log does not wait by itself."""
    file = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE other (something INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        later = threading.Timer(0.2, lambda: other.execute("COMMIT"))
        later.start()
        try:
            with AnswerStore(file) as store:
                add(store, "k")
                assert len(store) == 1
        finally:
            later.join()


def test_questions_are_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    key = answer_key({}, [{"role": "user", "content": "secret"}], {})
    with AnswerStore(file) as store:
        add(store, key)
    assert b"secret" not in file.read_bytes()


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a database, but long enough to be looked at as one" * 20)
    tables = tmp_path / "tables.sqlite"
    with closing(sqlite3.connect(tables)) as other:
        other.execute("CREATE TABLE answers (something INTEGER)")
    for path in (notes, tables, tmp_path):
        with pytest.raises(StoreError, match="name another file"), AnswerStore(path):
            pass
    assert notes.read_text().startswith("not a database")


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        add(store, "key")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for damaged in ("{", "[]", "{}", '{"text": null}'):
            database.execute("UPDATE answers SET reply = ?", (damaged,))
            with AnswerStore(path) as store, pytest.raises(StoreError, match="entry key is damaged"):
                store.get("key")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not open"):
        AnswerStore(tmp_path / "answers.sqlite").get("key")


def test_the_key_depends_on_who_answers_messages_and_sampling_and_on_no_order() -> None:
    key = answer_key({"a": 1, "b": 2}, MESSAGES, SAMPLING)
    assert answer_key({"b": 2, "a": 1}, list(MESSAGES), dict(reversed(SAMPLING.items()))) == key
    others = {
        answer_key({"a": 1, "b": 3}, MESSAGES, SAMPLING),
        answer_key({"a": 1, "b": 2}, [{"role": "user", "content": "2 + 3?"}], SAMPLING),
        answer_key({"a": 1, "b": 2}, MESSAGES, {**SAMPLING, "max_tokens": 9}),
    }
    assert len(others | {key}) == 4


def texts_of_builds(path: Path) -> None:
    """A file as `coterie prompts build` kept it before there was one store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, "
            "completion_tokens INTEGER NOT NULL) WITHOUT ROWID"
        )
        database.execute("INSERT INTO answers VALUES ('built', 'Rome', 9, 1)")


def test_a_file_of_earlier_builds_is_converted_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    texts_of_builds(path)
    for _ in range(2):
        with AnswerStore(path) as store:
            assert store.get("built") == Reply("Rome", usage=TokenUsage(9, 1))
            add(store, "new")
            assert len(store) == 2


def test_a_new_shared_store_begins_with_what_commands_kept_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts_of_builds(tmp_path / "prompts" / "answers.sqlite")
    with AnswerStore(tmp_path / "eval" / "cache" / "answers.sqlite") as run:
        add(run, "run")
    monkeypatch.setenv("COTERIE_DATA", str(tmp_path))
    with AnswerStore(default_store()) as store:
        assert store.get("run") == REPLY
        assert store.get("built") == Reply("Rome", usage=TokenUsage(9, 1))
        store.discard(["run"])
    with AnswerStore(default_store()) as store:
        assert store.get("run") is None


def test_a_store_that_was_killed_while_it_was_made_begins_with_them_as_well(tmp_path: Path) -> None:
    texts_of_builds(tmp_path / "prompts" / "answers.sqlite")
    (tmp_path / "answers.sqlite").touch()
    with AnswerStore(default_store(tmp_path)) as store:
        assert len(store) == 1


def test_earlier_answers_that_cannot_be_read_are_named_each_time(tmp_path: Path) -> None:
    """Else the second start would do without them, and pay for them again."""
    earlier = tmp_path / "eval" / "cache" / "answers.sqlite"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("not a database " * 100)
    texts_of_builds(tmp_path / "prompts" / "answers.sqlite")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"cache/answers\.sqlite: .* move the file away"):
            AnswerStore(default_store(tmp_path)).__enter__()
    earlier.unlink()
    with AnswerStore(default_store(tmp_path)) as store:
        assert len(store) == 1


def test_a_disk_without_room_for_earlier_answers_is_not_their_fault(tmp_path: Path) -> None:
    """Whoever moved them away, as told of a damaged file, would pay for them again."""
    with AnswerStore(tmp_path / "eval" / "cache" / "answers.sqlite") as earlier:
        add(earlier, "large", Reply("x" * 8_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"answers\.sqlite: .* name another file"):
            AnswerStore(default_store(tmp_path)).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with AnswerStore(default_store(tmp_path)) as store:
        assert store.get("large") is not None


def test_exported_answers_are_read_but_for_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    assert read_exported(path) == {}
    line = json.dumps({"key": "k", "expert": "small", "text": "eins\u2028zwei", "latency_s": 0.5})
    path.write_text(f'{line}\n{{"key": "k2", "exp')
    assert read_exported(path) == {"k": Reply("eins\u2028zwei", seconds=0.5)}
    for damaged in ("{}", '{"key": "k", "text": null}'):
        path.write_text(f"{damaged}\n{line}\n")
        with pytest.raises(StoreError, match=r"answers\.jsonl:1: is no answer"):
            read_exported(path)
