"""Numbers of a run do not depend on the order in which its answers came."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.engine.items import ItemLog, RunItem
from eval.engine.manifest import ITEMS, Manifest, RunFolder
from eval.reports.results import mean_interval, results_of


def items(name: str, seed: int) -> list[RunItem]:
    draw = random.Random(seed)
    return [
        RunItem(question=f"q-{number}", category="math", contestant=name, score=draw.random(), turns=())
        for number in range(40)
    ]


def test_an_interval_is_the_same_in_any_order() -> None:
    values = [each.score or 0.0 for each in items("a", 1)]
    assert mean_interval(values) == mean_interval(values[::-1])


def test_all_numbers_are_the_same_in_any_order(tmp_path: Path) -> None:
    ours, theirs = items("a", 1), items("b", 2)
    forwards = run(tmp_path / "forwards", [*ours, *theirs])
    mixed = run(tmp_path / "mixed", [*theirs[::-1], *ours[::-1]])
    assert results_of(forwards)["comparisons"]
    assert results_of(forwards) == results_of(mixed)


def run(folder: Path, answered: Sequence[RunItem]) -> RunFolder:
    folder.mkdir()
    with ItemLog(folder / ITEMS) as log:
        for each in answered:
            log.add(each)
    contestants: tuple[dict[str, Any], ...] = tuple(
        {"name": name, "model": name, "identity": {}} for name in ("a", "b")
    )
    created_at = "2026-01-01T00:00:00+00:00"
    return RunFolder(folder, Manifest(id="r", benchmark="b", created_at=created_at, contestants=contestants))
