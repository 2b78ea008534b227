"""A fake expert on loopback, and a client to ask it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from experts.client import ExpertClient
from experts.fake import RunningFake, run_fake_expert
from experts.registry import Expert

MakeExpert = Callable[..., Expert]


@pytest.fixture(scope="module")
def fake() -> Iterator[RunningFake]:
    """One well-behaved fake for a module's tests; they ask it for trouble with the body field `fake`."""
    with run_fake_expert() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[ExpertClient]:
    async with ExpertClient() as client:
        yield client


@pytest.fixture
def expert(fake: RunningFake) -> Expert:
    return make_expert(fake.endpoint)


def make_expert(endpoint: str | None, **fields: Any) -> Expert:
    """An expert; `fields` go over the defaults."""
    defaults: dict[str, Any] = {
        "name": "small",
        "endpoint": endpoint,
        "model": "small-model",
        "params_b": 0.1,
        "context_length": 2048,
        # Long enough for a busy machine; tests of timeouts bring their own.
        "timeouts": {"connect_s": 10, "first_byte_s": 20, "idle_s": 20, "total_s": 30},
    }
    return Expert.model_validate(defaults | fields)


def ask(text: str = "hello there", **fields: Any) -> dict[str, Any]:
    """A chat completion request of one user message."""
    return {"messages": [{"role": "user", "content": text}], **fields}
