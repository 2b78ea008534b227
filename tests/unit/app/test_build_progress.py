"""How far a build is, and the trouble that it has."""

import io

import pytest
from rich.console import Console

from app.cli.build_progress import TROUBLE_S, BuildProgress


class Clock:
    """Goes only when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_further_round_of_a_step_adds_to_it() -> None:
    out = io.StringIO()
    with BuildProgress(Console(file=out), clock=Clock()) as progress:
        for done, total in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2)):
            progress.told("measuring", done, total)
    assert [line.split(": ")[2] for line in out.getvalue().splitlines()] == ["1 of 1", "3 of 3"]


def test_nothing_is_written_of_a_step_without_calls() -> None:
    out = io.StringIO()
    with BuildProgress(Console(file=out), clock=Clock()) as progress:
        progress.told("joint search", 0, 0)
    assert out.getvalue() == ""


def test_trouble_is_told_once_in_a_while_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BuildProgress(Console(file=io.StringIO()), clock=clock) as progress:
        for wait in (0.0, TROUBLE_S / 2, TROUBLE_S / 2):
            clock.now += wait
            progress.trouble(ConnectionError("Expert llm failed (HTTP 500)."))
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert progress.troubles == 3
