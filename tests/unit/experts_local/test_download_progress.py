"""Progress of models in a file: lines with sizes, also while a step takes long."""

import io
import time

from rich.console import Console

from experts.local.download_progress import model_progress
from experts.local.model_folders import ModelProgress

SMALL = "smollm2-135m-instruct"


def test_a_file_gets_a_line_for_each_step_and_further_ones_while_it_lasts() -> None:
    out = io.StringIO()
    with model_progress(Console(file=out, width=200), line_s=0.02) as report:
        report(ModelProgress(SMALL, "fetching", 0, 4))
        report(ModelProgress(SMALL, "fetching", 2, 4))
        while "fetching: 50 of 100" not in out.getvalue():
            time.sleep(0.01)
        report(ModelProgress(SMALL, "converting", 0, 100))
    lines = out.getvalue().splitlines()
    assert f"{SMALL}: fetching: 0 of 100" in lines[0] and "98 MB to fetch" in lines[0]
    assert any(line.endswith(f"{SMALL}: converting: 0 of 100") for line in lines)
