"""Services that all contract tests of a process share."""

import io
from collections.abc import Iterator

import pytest
import structlog

from tests.contracts.contract_world import Service, serve

DIALECTS = ["responses", "messages", "completions"]


@pytest.fixture(scope="session", autouse=True)
def logged() -> Iterator[io.StringIO]:
    """What the services log."""
    said = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(said))
    yield said
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Its experts speak chat completions alone: other dialects are translated."""
    with serve(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Its experts speak every dialect: their answers are passed on."""
    with serve(tmp_path_factory.mktemp("native"), dialects=DIALECTS) as running:
        yield running


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For every fault that experts have: after a while they all count as down."""
    with serve(tmp_path_factory.mktemp("faulty")) as running:
        yield running


@pytest.fixture(scope="session")
def faulty_native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same, and its experts speak every dialect."""
    with serve(tmp_path_factory.mktemp("faulty-native"), dialects=DIALECTS) as running:
        yield running


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same for requests that fail: what the service remembers of failures does not change other tests."""
    with serve(tmp_path_factory.mktemp("failing")) as running:
        yield running


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For requests with anything in them."""
    with serve(tmp_path_factory.mktemp("odd")) as running:
        yield running
