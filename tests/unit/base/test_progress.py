"""Progress: bars for people who watch, lines for files."""

import io
import time

from rich.console import Console

from base.progress import LINE_S, ProgressBars


class Clock:
    """Goes only when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_a_line_now_and_then_and_at_the_end() -> None:
    clock, out = Clock(), io.StringIO()
    with ProgressBars(Console(file=out), clock=clock) as bars:
        task = bars.add("search", 4)
        for done in range(5):
            bars.tell(task, done, note="(1 kept)" if done == 4 else None)
            clock.now += LINE_S * 0.6
        unknown = bars.add("reading")
        bars.advance(unknown, 3)
    assert out.getvalue().splitlines() == [
        "coterie: search: 2 of 4",
        "coterie: search: 4 of 4 (1 kept)",
    ]


def test_a_new_phase_of_a_task_is_told_and_not_taken_for_its_end() -> None:
    out = io.StringIO()
    with ProgressBars(Console(file=out), clock=Clock()) as bars:
        task = bars.add("a", 2)
        for name, done in (("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)):
            bars.tell(task, done, name=name)
    assert out.getvalue().splitlines() == [
        "coterie: a: 2 of 2",
        "coterie: b: 0 of 2",
        "coterie: b: 2 of 2",
    ]


def test_a_terminal_gets_a_bar_for_each_task() -> None:
    screen = io.StringIO()
    with ProgressBars(Console(file=screen, force_terminal=True, width=100)) as bars:
        first, second, third = bars.add("[first]", 2), bars.add("second", 5), bars.add("third", 1)
        bars.advance(first, note="1 failed")
        bars.tell(second, 5)
        bars.remove(third)
    assert "[first]" in screen.getvalue()
    assert "1/2" in screen.getvalue()
    assert "5/5" in screen.getvalue()


def test_a_file_hears_of_a_task_that_takes_long() -> None:
    out = io.StringIO()
    with ProgressBars(Console(file=out), line_s=0.02) as bars:
        bars.tell(bars.add("search", 4), 1)
        while out.getvalue().count("search: 1 of 4") < 2:
            time.sleep(0.01)
