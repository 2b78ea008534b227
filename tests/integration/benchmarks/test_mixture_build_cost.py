"""The builder's benchmark runs and measures what the builder promises."""

import pytest

from benchmarks.mixture_build_cost import measures

pytestmark = pytest.mark.usefixtures("encoder")


def test_calls_are_within_their_bounds_and_a_choice_takes_no_time() -> None:
    found = {each.name: each for each in measures()}
    # Seconds are the machine's; calls are not.
    assert found["calls of it"].value > 500
    assert found["calls of it"].holds and found["calls of it"].bound
    assert found["calls of that"].holds and found["calls of that"].bound == 0
    choices = [each for name, each in found.items() if each.unit == "ms"]
    assert len(choices) == 2
    assert all(0 < each.value <= 10 * (each.bound or 0) for each in choices)
