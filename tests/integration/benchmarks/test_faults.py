"""Some of the faults that `python -m benchmarks.faults` plays, with the same processes and signals."""

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.benchmarks.measured import ROOT

CASES = ("replica killed", "answers 500", "all servers", "one of 2 workers")


def test_no_request_and_no_decision_is_lost_silently(tmp_path: Path) -> None:
    kept = tmp_path / "faults.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--cases", *CASES, "--json", str(kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert kept.exists(), done.stderr
    outcomes = {row["fault"]: row for row in json.loads(kept.read_text())}
    assert len(outcomes) == len(CASES)
    for outcome in outcomes.values():
        assert outcome["lost"] == 0, outcome
        assert outcome["missing"] <= outcome["may_miss"], outcome
        assert outcome["next_s"] is not None, outcome
    assert done.returncode == (not all(each["holds"] for each in outcomes.values()))
    killed, errors, down, worker = (
        next(row["seen"] for fault, row in outcomes.items() if words in fault) for words in CASES
    )
    assert "`expert_bad_reply` in the stream" in killed
    assert errors == "96 whole"
    assert down.startswith("8 `expert_bad_reply` in the stream, 8 503 `expert_unavailable`")
    assert down.endswith("when one is back: 8 whole")
    assert "whole" in worker
    assert "connection refused" not in worker
