"""What holds for every test."""

import os

# Before numpy is imported: tests run side by side, and threads that wait for a core by spinning take it from
# the others (a small fit needs five times the processor time with two threads that it needs with one).
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Generator

import pytest
from hypothesis import settings

from routers.encoder import Encoder, EncoderMissing, load_encoder

# How long an example takes depends on who else uses the machine.
settings.register_profile("coterie", parent=settings(), deadline=None)
settings.load_profile("coterie")

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The encoder as shipped, exported once by `make test`. Tests that need it are never skipped."""
    try:
        return load_encoder()
    except EncoderMissing as missing:
        pytest.fail(f"{missing}: `make test` does", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip is a failure in CI, where every program that a test needs is installed."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So is a module that skips itself."""
    report = yield
    if IN_CI and report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"nothing is skipped in CI. {reason}"
