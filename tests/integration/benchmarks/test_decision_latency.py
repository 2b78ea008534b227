"""The routing benchmark runs, measures what it says, and routes within memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decision_latency import LONG_WORDS, long_text, synthetic_embeddings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What a small run wrote, by name."""
    kept = tmp_path_factory.mktemp("bench") / "routing.json"
    words = ["--indexed", "6000", "--rounds", "10", "--json", str(kept)]
    # In a process of its own, since it pins itself to one core. It returns 1 when the machine is too
    # busy for a bound, which is no failure of the benchmark.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decision_latency", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert kept.exists(), done.stderr
    assert "encode a short request, p50" in done.stdout
    return {row["name"]: row for row in json.loads(kept.read_text())}


def test_every_bound_of_routing_is_measured(figures: dict[str, dict[str, float]]) -> None:
    bounds = {name: row["bound"] for name, row in figures.items() if row["bound"] is not None}
    assert bounds == {
        "encode a short request, p50": 3,
        "encode 2,000 words, p50": 150,
        "decide, shipped composition, p50": 0.3,
        "decide, 6,000 indexed prompts, p50": 0.3,
        "decide, a correction, p50": 0.3,
        "route a short request, p50": 5,
        "route 2,000 words, p50": 150,
        "load the shipped composition": 1,
        "load one with 6,000 indexed prompts": 1,
        "load that with a correction": 1,
        "process that routes, peak resident": 500,
        "process that routes with index and correction": 500,
    }


def test_the_figures_are_of_the_right_order(figures: dict[str, dict[str, float]]) -> None:
    """Bounds no machine misses by being busy alone."""
    value = {name: row["value"] for name, row in figures.items()}
    assert 0.1 < value["encode a short request, CPU"] < 30
    assert value["encode a short request, CPU"] < value["encode 2,000 words, CPU"]
    assert value["decide, 6,000 indexed prompts, CPU"] < 5
    assert value["decide, shipped composition, CPU"] < value["decide, a correction, CPU"] < 10
    assert 30 < value["process that routes, peak resident"] <= 500


def test_the_long_text_has_its_words() -> None:
    assert len(long_text(LONG_WORDS).split()) == LONG_WORDS


def test_synthetic_prompts_are_unit_vectors_that_lie_in_clusters() -> None:
    some, others = synthetic_embeddings(400, 32, seed=1), synthetic_embeddings(400, 32, seed=2)
    assert np.linalg.norm(some, axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert not np.array_equal(some, others)
    assert (others @ some.T).max(axis=1).mean() > 0.5  # each has company, also across seeds
