"""What holds for every test."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# How long an example takes depends on who else uses the machine.
settings.register_profile("coterie", parent=settings(), deadline=None)
settings.load_profile("coterie")

NEEDS_THE_MACHINE = ("vllm", "browser", "postgres")
"""Markers of tests that may be skipped where a program is missing, but never in CI."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marked = [name for name in NEEDS_THE_MACHINE if item.get_closest_marker(name)]
    if report.skipped and marked and os.environ.get("CI", "").lower() in {"1", "true"}:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{', '.join(marked)}: must not be skipped in CI. {reason}"
    return report
