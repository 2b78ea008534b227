"""The benchmark of fitted strategies judges on prompts that nothing was fitted on."""

from pathlib import Path

import pytest
from pyarrow import parquet

from benchmarks.strategy_evidence import BEGIN, END, main, split
from tests.unit.routers.strategy_fitting.planted import table, write


def test_a_split_parts_the_prompts_and_their_answers(tmp_path: Path) -> None:
    whole = write(table(100, seed=1), tmp_path / "table")

    parts = split(whole, tmp_path, seed=0)

    for name in ("prompts", "scores", "answers"):
        uids = [parquet.read_table(part / f"{name}.parquet")["uid"].to_pylist() for part in parts]
        assert (len(uids[0]), len(uids[1])) == (70, 30)
        assert not set(uids[0]) & set(uids[1])


def test_the_table_is_written_into_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.strategy_evidence.cache_folder", lambda: tmp_path / "cache")
    whole, page = write(table(400, seed=1), tmp_path / "table"), tmp_path / "page.md"
    page.write_text(f"# Strategies\n\n{BEGIN}\n{END}\n")

    code = main([str(whole), "--target", "18", "--page", str(page)])

    assert code == 0, capsys.readouterr().err
    text = page.read_text()
    assert "120 prompts put aside" in text
    assert all(f"| {name}" in text for name in ("best single", "vote@", "stopping@", "composition"))
