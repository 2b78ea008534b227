"""A sweep's report is JSON that every reader takes, or it is not written."""

from pathlib import Path

import pytest

from base.json_documents import DocumentError
from eval.sweeps.sweep_run import write_report
from eval.sweeps.sweep_summary import SummaryRow, SweepReport


def test_a_figure_that_is_no_number_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    row = SummaryRow("plain", "configuration", 3, 0.5, 0.4, 0.6, 7.0, float("nan"), None, None)
    with pytest.raises(DocumentError, match=r"rows\.0\.cost is no number"):
        write_report(SweepReport("run", "replay", (row,), {}), tmp_path)
    assert list(tmp_path.iterdir()) == []
