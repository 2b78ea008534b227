"""Benchmarks say what they measured and whether it holds."""

import json
from pathlib import Path

import pytest

from benchmarks.measures import Measure, conclude, print_measures, write_measures

MEASURES = [
    Measure("fast enough", 2.5, "ms", 3),
    Measure("too slow", 4, "ms", 3),
    Measure("by the way", 1_234, "requests/s"),
]


def test_a_measure_holds_up_to_its_bound_and_always_without_one() -> None:
    assert [each.holds for each in MEASURES] == [True, False, True]
    assert Measure("just so", 3, "ms", 3).holds


def test_a_bound_that_is_missed_is_the_exit_code_and_all_is_kept_first(tmp_path: Path) -> None:
    kept = tmp_path / "m.json"
    assert conclude(MEASURES, kept) == 1
    assert len(json.loads(kept.read_text())) == len(MEASURES)
    assert conclude([each for each in MEASURES if each.holds]) == 0
    assert conclude([Measure("not measured", float("nan"), "MB", 700)]) == 1


def test_people_get_a_table_with_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    print_measures(MEASURES)
    fast, slow, aside = capsys.readouterr().out.splitlines()[2:]
    assert "2.5 ms" in fast and "≤ 3 ms" in fast and "ok" in fast
    assert "TOO MUCH" in slow
    assert "ok" not in aside


def test_machines_get_json(tmp_path: Path) -> None:
    write_measures(MEASURES, tmp_path / "m.json")
    rows = json.loads((tmp_path / "m.json").read_text())
    assert rows[1] == {"name": "too slow", "value": 4, "unit": "ms", "bound": 3, "holds": False}
    assert rows[2]["bound"] is None
