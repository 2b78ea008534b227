"""Runs are found by name, and a manifest says what a run was."""

from pathlib import Path

import pytest

from eval.engine.manifest import (
    Manifest,
    RunError,
    code_version,
    find_run,
    list_runs,
    new_run_id,
    save_manifest,
)


def keep(runs: Path, name: str, created_at: str = "2026-01-01T00:00:00+00:00") -> None:
    (runs / name).mkdir(parents=True)
    save_manifest(Manifest(id=name, benchmark="checkable", created_at=created_at), runs / name)


def test_runs_are_listed_newest_first_and_found_by_the_beginning_of_their_ids(tmp_path: Path) -> None:
    keep(tmp_path, "20260101-a", "2026-01-01T00:00:00+00:00")
    keep(tmp_path, "20260102-b", "2026-01-02T00:00:00+00:00")
    (tmp_path / "no-run").mkdir()

    assert [run.manifest.id for run in list_runs(tmp_path)] == ["20260102-b", "20260101-a"]
    assert find_run("last", tmp_path).manifest.id == "20260102-b"
    assert find_run("20260101", tmp_path).manifest.id == "20260101-a"
    assert find_run(str(tmp_path / "20260101-a"), tmp_path).folder == tmp_path / "20260101-a"


def test_a_name_of_none_or_several_is_an_error(tmp_path: Path) -> None:
    keep(tmp_path, "20260101-a")
    keep(tmp_path, "20260101-b")

    with pytest.raises(RunError, match="several runs begin"):
        find_run("20260101", tmp_path)
    with pytest.raises(RunError, match="no run begins"):
        find_run("2027", tmp_path)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")

    with pytest.raises(RunError, match=r"manifest\.json is no manifest"):
        find_run(str(tmp_path), tmp_path)


def test_ids_differ_within_a_second() -> None:
    assert len({new_run_id("mt-bench") for _ in range(20)}) == 20


def test_the_code_version_names_the_commit_and_inspect() -> None:
    found = code_version()

    assert found["inspect-ai"]
    assert len(found["commit"]) == 40
