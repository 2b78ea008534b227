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


def in_a_file(clock: Clock) -> BuildProgress:
    return BuildProgress(Console(file=io.StringIO()), clock=clock)


def test_a_further_round_of_a_step_adds_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    with in_a_file(Clock()) as progress:
        for done, total in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2)):
            progress.told("measuring", done, total)
    assert [line.split(": ")[2] for line in capsys.readouterr().err.splitlines()] == ["1 of 1", "3 of 3"]


def test_nothing_is_written_of_a_step_without_calls(capsys: pytest.CaptureFixture[str]) -> None:
    with in_a_file(Clock()) as progress:
        progress.told("joint search", 0, 0)
    assert capsys.readouterr().err == ""


def test_trouble_is_told_once_in_a_while_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with in_a_file(clock) as progress:
        for wait in (0.0, TROUBLE_S / 2, TROUBLE_S / 2):
            clock.now += wait
            progress.trouble(ConnectionError("Expert llm failed (HTTP 500)."))
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert progress.troubles == 3
