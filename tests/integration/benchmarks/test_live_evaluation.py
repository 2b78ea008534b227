"""The live evaluation runs its parts, goes on where it was, and says what was asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live_evaluation import main
from tests.integration.eval.evaluation_world import serving, verdict_of

QUESTIONS = Path(__file__).resolve().parents[3] / "eval" / "questions"


def answer(body: Mapping[str, Any]) -> str | int:
    return verdict_of(body, 7) if body["model"] == "judge" else "Four."


@pytest.mark.parametrize(("turns", "title"), [(1, "MT-Bench's first turns"), (2, "MT-Bench, both turns")])
def test_the_parts_are_run_once_and_summed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], turns: int, title: str
) -> None:
    words = ["--only", "mt-bench", "held-out", "--limit", "2", "--judge", "judge", "--turns", str(turns)]
    words += ["--data", str(QUESTIONS / "mt_bench"), "--experts", "small,large", "--out", str(tmp_path)]
    with serving(answer) as world:
        words += ["--api", world.api, "--cache", str(tmp_path / "answers.sqlite")]
        assert main(words) == 0
        asked = len(world.bodies)
        first = capsys.readouterr().out
        assert main(words) == 0
        assert len(world.bodies) == asked
    assert len(world.asked("small")) == 2 + 2 * turns
    assert capsys.readouterr().out == first == (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert f"### {title}, graded by a judge" in first
    assert "| coterie | 0.700 |" in first
    assert (tmp_path / "live-evaluation.png").stat().st_size > 5_000
    assert (tmp_path / "mt-bench" / "report.html").exists()


def test_without_a_service_there_is_an_error_and_no_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--api", "http://127.0.0.1:9/v1", "--out", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "summary.md").exists()
