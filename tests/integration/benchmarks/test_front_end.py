"""What a request that names its expert costs, beside the least that a front end in Python can cost.

Both are measured side by side in the processor's time, which other work on the machine changes little.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.benchmarks.measured import ROOT

REQUEST, STREAM = 20.0, 20.0
"""Times `bare`: about twice what is measured on a busy machine."""


def test_the_named_path_stays_near_the_least_that_python_needs(tmp_path: Path) -> None:
    kept = tmp_path / "front_end.json"
    options = ["--rounds", "3", "--requests", "60", "--contestants", "Coterie, named", "--json", str(kept)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.front_end", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert kept.exists(), done.stderr
    values = {row["name"]: row["value"] for row in json.loads(kept.read_text())}
    assert {"bare, CPU", "Coterie, named, CPU"} <= values.keys()
    assert not any(name.startswith("Coterie, routed") for name in values)
    assert 1 < values["named : bare, CPU a request"] < REQUEST
    assert 1 < values["named : bare, CPU a stream"] < STREAM
