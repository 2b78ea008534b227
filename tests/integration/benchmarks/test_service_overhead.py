"""The benchmark of the service measures what it adds to an expert's own time, and that is what it should be.

Bounds on the clock are for a quiet machine; here they have a wide margin.
"""

from collections.abc import Mapping

import pytest

from benchmarks.measures import Measure
from tests.integration.benchmarks.measured import measured, times_bound

SLOWER = 10
"""How much slower than the bounds' machine a busy one may be."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Measure]:
    options = ["--requests", "10", "--concurrency", "2"]
    return measured("benchmarks.service_overhead", options, tmp_path_factory.mktemp("bench") / "service.json")


def test_what_the_service_promises_is_within_reach_of_every_bound(figures: Mapping[str, Measure]) -> None:
    # How long a start takes by the clock depends on what else runs, so its CPU time is held instead.
    clock = "API ready after start"
    bounded = [each for name, each in figures.items() if each.bound is not None and name != clock]
    assert {each.unit for each in bounded} == {"s", "ms", "MB"}
    assert all(times_bound(each) <= SLOWER for each in bounded), bounded


def test_memory_and_imports_are_within_their_bounds(figures: Mapping[str, Measure]) -> None:
    assert times_bound(figures["API process, resident"]) <= 1
    assert figures["API process, resident"].value <= figures["API process, peak resident"].value
    assert times_bound(figures["import app"]) <= 1


def test_the_command_and_the_service_start_within_twice_their_cpu_time(
    figures: Mapping[str, Measure],
) -> None:
    # A core that others share works at half the speed.
    assert times_bound(figures["coterie --help, CPU"]) <= 2
    assert times_bound(figures["API ready, CPU"]) <= 2


def test_the_api_adds_to_the_experts_own_time(figures: Mapping[str, Measure]) -> None:
    alone, through = figures["expert alone, p50"].value, figures["through the API, p50"].value
    assert through - alone == pytest.approx(figures["added by the API, p50"].value)
    assert through <= figures["through the API, p95"].value
    # One after the other, two in flight: the rate is near what the median allows, within a wide margin.
    assert 0.1 < figures["rate with 2 in flight"].value * through / 2000 < 10
