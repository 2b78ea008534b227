"""The world of the service's tests."""

import io
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from benchmarks.postgres_server import NoPostgres, Postgres, running_postgres
from experts.fake import RunningFake
from tests.integration.app.world import Api, World, forget, running_fakes, small_world


@pytest.fixture(autouse=True)
def logged() -> Iterator[io.StringIO]:
    """What a service in the test's own process logs: not on the standard output that commands write to."""
    said = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(said))
    yield said
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def servers() -> Iterator[Mapping[str, RunningFake]]:
    with running_fakes() as fakes:
        yield fakes


@pytest.fixture
def fakes(servers: Mapping[str, RunningFake]) -> Mapping[str, RunningFake]:
    """The fake experts, with empty logs."""
    forget(servers)
    return servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture
def world(tmp_path: Path, fakes: Mapping[str, RunningFake]) -> World:
    return small_world(tmp_path, fakes)


@pytest.fixture
async def api(world: World) -> AsyncIterator[Api]:
    async with world.serve() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'coterie.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()
