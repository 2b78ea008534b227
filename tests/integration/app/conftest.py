"""The world of the service's tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.app.world import Api, World, small_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with small_world(tmp_path) as made:
        yield made


@pytest.fixture
async def api(world: World) -> AsyncIterator[Api]:
    async with world.serve() as running:
        yield running
