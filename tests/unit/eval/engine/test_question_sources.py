"""Question sets from upstream: fetched once, and only the pinned bytes."""

import hashlib
from pathlib import Path

import pytest

from eval.engine.question_sources import PinnedFile, SourceError, fetch


def source(path: Path, sha256: str = "") -> PinnedFile:
    return PinnedFile(
        "question.jsonl", path.as_uri(), sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    )


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.jsonl"
    upstream.write_text("{}\n")
    pinned = source(upstream)

    folder = fetch("set", [pinned], tmp_path / "cache")
    upstream.unlink()

    assert (fetch("set", [pinned], tmp_path / "cache") / "question.jsonl").read_text() == "{}\n"
    assert folder == tmp_path / "cache" / "benchmarks" / "set"


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.jsonl"
    upstream.write_text("changed\n")

    with pytest.raises(SourceError, match="pinned"):
        fetch("set", [source(upstream, "0" * 64)], tmp_path / "cache")

    assert not list(tmp_path.rglob("question.jsonl*"))


def test_without_a_connection_it_says_what_to_do(tmp_path: Path) -> None:
    gone = PinnedFile("question.jsonl", (tmp_path / "nowhere").as_uri(), "0" * 64)

    with pytest.raises(SourceError, match="--data own"):
        fetch("set", [gone], tmp_path)
