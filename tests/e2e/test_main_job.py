"""The main job with a real model: ask the service, be routed, be answered by vLLM, see who and why."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from app.settings import Settings
from tests.e2e.conftest import RunningExperts
from tests.e2e.serving import serving

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

READY_S = 30


@pytest.fixture(scope="module")
def url(running_experts: RunningExperts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service with the tiny profile's composition over its live experts."""
    settings = Settings(
        profile="tiny",
        experts=running_experts.registry_file,
        data=tmp_path_factory.mktemp("service"),
        database_url=None,
    )
    with serving(settings) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def api(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service once that is ready."""
    async with httpx2.AsyncClient(base_url=url, timeout=120) as api:
        async with asyncio.timeout(READY_S):
            while (await api.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - it is asked over HTTP
                await asyncio.sleep(0.1)
        yield api


@pytest_asyncio.fixture(loop_scope="session")
async def client(url: str, api: httpx2.AsyncClient) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=120) as client:
        yield client


def asking(text: str) -> dict[str, Any]:
    return {
        "model": "coterie",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 24,
    }


async def test_a_question_is_routed_answered_and_its_decision_kept(
    client: AsyncOpenAI, api: httpx2.AsyncClient
) -> None:
    answer = await client.chat.completions.create(**asking("What is the capital of France?"))
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.model == "SmolLM2-135M-Instruct"
    routing = (answer.model_extra or {})["routing"]
    kept = (await api.get(f"/v1/decisions/{routing['id']}")).json()
    assert kept.items() >= routing.items()
    assert (kept["status"], kept["http_status"]) == ("ok", 200)
    assert kept["usage"]["completion_tokens"] > 0


async def test_different_requests_stream_for_the_reason_their_decisions_state(
    client: AsyncOpenAI, api: httpx2.AsyncClient
) -> None:
    best = (await api.get("/v1/composition")).json()["map"]
    for text, category in (
        ("Hey, how is your day going?", "smalltalk"),
        ("Write a Python function that reverses a string.", "coding"),
    ):
        stream = await client.chat.completions.create(**asking(text), stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()
        routing = (chunks[0].model_extra or {})["routing"]
        assert (routing["category"], routing["reason"]) == (category, "matched")
        newest = (await api.get("/v1/decisions", params={"limit": 1})).json()["data"][0]
        assert (newest["id"], newest["expert"], newest["status"]) == (routing["id"], best[category], "ok")
