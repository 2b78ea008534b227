"""Writes the HTML report of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.files import write_text
from eval.engine.items import read_items
from eval.engine.manifest import ITEMS, RunFolder
from eval.reports.page import page

REPORT = "report.html"


def write_report(run: RunFolder, results: Mapping[str, Any]) -> Path:
    """Write `report.html` of `run` from its results (`eval.reports.results`) and items; returns its path.

    Raises:
        ItemsError: the items are invalid.
    """
    names = {str(each["name"]) for each in run.manifest.contestants}
    items = [each for each in read_items(run.folder / ITEMS) if each.contestant in names]
    path = run.folder / REPORT
    write_text(page(run.manifest, results, items), path)
    return path
