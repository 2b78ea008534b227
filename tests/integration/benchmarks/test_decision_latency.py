"""The benchmark of routing measures what a decision costs, and decisions cost what they should.

Bounds on the clock are for a quiet machine. What is asserted here is what a busy one does not change by
much: time spent by the processor, ratios of two measures of the same run, and memory.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.decision_latency import LONG_WORDS, long_text, synthetic_embeddings
from benchmarks.measures import Measure
from tests.integration.benchmarks.measured import measured, times_bound

SLOWER = 10
"""How much slower than the bounds' machine this one may be."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Measure]:
    options = ["--indexed", "6000", "--corrected", "1000", "--rounds", "10"]
    return measured("benchmarks.decision_latency", options, tmp_path_factory.mktemp("bench") / "routing.json")


def test_the_processors_time_is_within_reach_of_every_bound(figures: Mapping[str, Measure]) -> None:
    bounded = {name: each for name, each in figures.items() if name.endswith(", p50") and each.bound}
    assert len(bounded) >= 6
    for name, on_the_clock in bounded.items():
        spent = figures[name.replace(", p50", ", CPU")]
        assert spent.value <= SLOWER * (on_the_clock.bound or 0), name
    loads = [each for name, each in figures.items() if name.startswith("load ")]
    assert loads and all(times_bound(each) <= SLOWER for each in loads)


def test_a_process_that_routes_stays_within_its_memory(figures: Mapping[str, Measure]) -> None:
    resident = [each for each in figures.values() if each.unit == "MB"]
    assert len(resident) == 2
    assert all(0.05 < times_bound(each) <= 1 for each in resident), resident


def test_what_does_more_costs_more(figures: Mapping[str, Measure]) -> None:
    spent = {
        name.removesuffix(", CPU"): each.value for name, each in figures.items() if name.endswith(", CPU")
    }
    encode, decide = spent["encode a short request"], spent["decide, shipped composition"]
    assert 3 * encode < spent[f"encode {LONG_WORDS:,} words"] < 500 * encode
    assert decide < encode  # deciding is the cheap part
    assert decide < spent["decide, a correction"] < 30 * decide
    assert spent["decide, 6,000 indexed prompts"] < 30 * decide


def test_the_long_text_has_its_words() -> None:
    assert len(long_text(LONG_WORDS).split()) == LONG_WORDS


def test_synthetic_prompts_are_unit_vectors_that_lie_in_clusters() -> None:
    some, others = synthetic_embeddings(400, 32, seed=1), synthetic_embeddings(400, 32, seed=2)
    assert np.linalg.norm(some, axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert not np.array_equal(some, others)
    assert (others @ some.T).max(axis=1).mean() > 0.5  # each has company, also across seeds
