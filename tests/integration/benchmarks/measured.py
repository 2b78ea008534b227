"""Runs a benchmark small, in a process of its own, and gives what it measured."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measures import Measure

ROOT = Path(__file__).resolve().parents[3]


def measured(module: str, options: Sequence[str], kept: Path) -> Mapping[str, Measure]:
    """The measures of `python -m module options`, by name. Fails when the run does, when a measure is no
    number above 0, or when the exit code and the printed table say something else than the bounds."""
    done = subprocess.run(
        [sys.executable, "-m", module, *options, "--json", str(kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert kept.exists(), done.stderr
    rows = json.loads(kept.read_text())
    found = {row["name"]: Measure(row["name"], row["value"], row["unit"], row["bound"]) for row in rows}
    missed = [each for each in found.values() if not each.holds]
    assert done.returncode == bool(missed), done.stderr
    assert done.stdout.count("TOO MUCH") == len(missed)
    assert all(each.value > 0 for each in found.values()), found
    return found


def times_bound(measure: Measure) -> float:
    """Its value as a multiple of its bound, which it must have."""
    assert measure.bound, f"{measure.name} has no bound"
    return measure.value / measure.bound
