"""A small service for the client to ask."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from experts.fake import RunningFake
from tests.integration.app.world import Api, running_fakes, small_world


@pytest.fixture(scope="module")
def fakes() -> Iterator[Mapping[str, RunningFake]]:
    with running_fakes() as running:
        yield running


@pytest.fixture
async def service(tmp_path: Path, fakes: Mapping[str, RunningFake]) -> AsyncIterator[Api]:
    async with small_world(tmp_path, fakes).serve(store_prompts=True, shadow_rate=1.0) as running:
        yield running
