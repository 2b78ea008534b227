"""How the time of reading a text grows with its length: a ratio within one run, on any machine."""

import time
from collections.abc import Callable

QUADRATIC = 16
"""Times that a reader of quadratic time takes longer for a text than for a quarter of it; a linear one 4."""
NOTHING_S = 0.05
"""What is quicker than this is not compared: the clock is too coarse."""


def grows_no_faster_than_linear(read: Callable[[str], object], text: str) -> bool:
    """Whether reading `text` takes far less than `QUADRATIC` times what a quarter of it takes."""
    whole = _seconds(read, text)
    return whole < NOTHING_S or whole < 10 * _seconds(read, text[: len(text) // 4])


def _seconds(read: Callable[[str], object], text: str) -> float:
    """Of processor time, the better of two readings."""
    taken = []
    for _ in range(2):
        started = time.process_time()
        read(text)
        taken.append(time.process_time() - started)
    return min(taken)
