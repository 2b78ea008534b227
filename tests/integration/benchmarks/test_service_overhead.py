"""The service's benchmark runs and measures every bound that the service promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from routers.encoder import EncoderMissing, load_encoder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What a small run wrote, by name."""
    try:
        load_encoder()
    except EncoderMissing as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            raise
        pytest.skip(str(error))
    kept = tmp_path_factory.mktemp("bench") / "service.json"
    words = ["--requests", "10", "--concurrency", "2", "--json", str(kept)]
    # It returns 1 when the machine is too busy for a bound, which is no failure of the benchmark.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.service_overhead", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert kept.exists(), done.stderr
    return {row["name"]: row for row in json.loads(kept.read_text())}


def test_every_bound_of_the_service_is_measured(figures: dict[str, dict[str, float]]) -> None:
    assert {name: row["bound"] for name, row in figures.items() if row["bound"] is not None} == {
        "import app": 0.5,
        "API ready after start": 10,
        "added by the API, p50": 8,
        "added to the first byte of a stream, p50": 8,
        "API process, peak resident": 700,
    }


def test_what_a_busy_machine_does_not_change_is_within_its_bound(
    figures: dict[str, dict[str, float]],
) -> None:
    for name in ("import app", "API process, peak resident"):
        assert 0 < figures[name]["value"] <= figures[name]["bound"]
    assert figures["through the API, p50"]["value"] > figures["expert alone, p50"]["value"]
