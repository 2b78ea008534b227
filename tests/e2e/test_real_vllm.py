"""Real vLLM with a real model: what the fakes stand for everywhere else, and the main job over it.

One file, since its tests share a server that takes half a minute to start.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from app.settings import Settings
from base.token_count import TokenCount
from experts.client import ExpertClient
from experts.errors import ContextTooLong
from experts.expert_replies import raw_bytes
from experts.local.supervisor import ServerState
from experts.token_counter import TokenCounter
from tests.contracts.contract import Case
from tests.contracts.sse import events_of
from tests.contracts.test_contracts import CONTRACTS
from tests.e2e.conftest import RunningExperts, alive
from tests.e2e.serving import serving

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

READY_S = 60


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[ExpertClient]:
    async with ExpertClient() as client:
        yield client


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24, **fields}


async def test_an_expert_answers(running_experts: RunningExperts, client: ExpertClient) -> None:
    reply = await client.complete(
        running_experts.registry.get("smollm2"), ask("What is the capital of France?")
    )
    assert reply.status == 200
    assert "Paris" in reply.body["choices"][0]["message"]["content"]
    assert reply.body["model"] == "smollm2"
    assert 0 < reply.body["usage"]["completion_tokens"] <= 24


async def test_an_expert_streams_events_as_they_come(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    expert = running_experts.registry.get("smollm2")
    async with client.stream(expert, ask("Count from one to ten.")) as stream:
        pieces = [raw_bytes(events) async for events in stream]
    events = [
        line.removeprefix("data: ")
        for line in b"".join(pieces).decode().splitlines()
        if line.startswith("data:")
    ]
    assert len(pieces) > 3
    assert events[-1] == "[DONE]"
    text = "".join(
        choice["delta"].get("content") or ""
        for event in events[:-1]
        for choice in json.loads(event)["choices"]
    )
    assert text.strip()


async def test_a_prompt_expert_answers_over_the_same_server(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    base, friend = (running_experts.registry.get(name) for name in ("smollm2", "smollm2-friend"))
    assert friend.endpoint == base.endpoint
    plain = await client.complete(base, ask("Good morning!"))
    warm = await client.complete(friend, ask("Good morning!"))
    assert warm.body["choices"][0]["message"]["content"]
    # Its system prompt replaces the model's own, so the prompt's length differs.
    assert warm.body["usage"]["prompt_tokens"] != plain.body["usage"]["prompt_tokens"]


async def test_log_probabilities_and_json_schemas_pass_through(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    body = ask(
        "Name a colour as JSON.",
        logprobs=True,
        response_format={"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}},
    )
    reply = await client.complete(running_experts.registry.get("smollm2"), body)
    choice = reply.body["choices"][0]
    assert json.loads(choice["message"]["content"])["colour"] in {"red", "blue"}
    assert all(token["logprob"] <= 0 for token in choice["logprobs"]["content"])


async def test_a_prompt_longer_than_the_context_is_refused_as_such(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    with pytest.raises(ContextTooLong):
        await client.complete(running_experts.registry.get("smollm2"), ask("word " * 4000))


async def test_the_tokenizers_file_the_server_and_its_usage_count_the_same(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    for name in ("smollm2", "smollm2-friend"):
        expert = running_experts.registry.get(name)
        counter = TokenCounter.of([expert])
        for text in ("Hi", "港口办公室开门很晚。 🏳️‍🌈 <|im_end|>", "x = [1,  2]\n\n\tpass"):
            counted = await counter.count(expert, ask(text))
            reply = await client.complete(expert, ask(text, max_tokens=1))
            asked = await client.tokenize(expert, ask(text))
            assert counted == TokenCount.counted(reply.body["usage"]["prompt_tokens"])
            assert asked == counted.tokens
        counter.close()


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
async def sdk(url: str, api: httpx2.AsyncClient) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=120) as sdk:
        yield sdk


@pytest.mark.parametrize("strategy", ["single", "panel"])
@pytest.mark.parametrize("dialect", CONTRACTS)
async def test_every_dialect_is_answered_to_the_letter(
    api: httpx2.AsyncClient, dialect: str, strategy: str
) -> None:
    """One expert answers in the dialect itself where vLLM speaks it; a panel is translated."""
    contract, case = CONTRACTS[dialect], Case(max_tokens=8, usage=True, finish="length")
    body = {**(contract.body(case) or {}), "temperature": 0, "routing": {"strategy": strategy}}
    response = await api.post(contract.path, json=body)
    assert response.status_code == 200, response.text
    assert contract.whole(case, response.json()) == []
    response = await api.post(contract.path, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    events = events_of(response.text)
    assert contract.stream(case, events) == []
    assert contract.parse_stream(events).texts[0].strip()


async def test_a_question_is_routed_answered_and_its_decision_kept(
    sdk: AsyncOpenAI, api: httpx2.AsyncClient
) -> None:
    answer = await sdk.chat.completions.create(**ask("What is the capital of France?", model="coterie"))
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.model == "smollm2"
    routing = (answer.model_extra or {})["routing"]
    kept = (await api.get(f"/v1/decisions/{routing['id']}")).json()
    assert kept.items() >= routing.items()
    assert (kept["status"], kept["http_status"]) == ("ok", 200)
    assert kept["usage"]["completion_tokens"] > 0


async def test_different_requests_stream_for_the_reason_their_decisions_state(
    sdk: AsyncOpenAI, api: httpx2.AsyncClient
) -> None:
    best = (await api.get("/v1/composition")).json()["map"]
    for text, category in (
        ("Hey, how is your day going?", "smalltalk"),
        ("Write a Python function that reverses a string.", "coding"),
    ):
        stream = await sdk.chat.completions.create(**ask(text, model="coterie"), stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()
        routing = (chunks[0].model_extra or {})["routing"]
        assert (routing["category"], routing["reason"]) == (category, "matched")
        newest = (await api.get("/v1/decisions", params={"limit": 1})).json()["data"][0]
        assert (newest["id"], newest["expert"], newest["status"]) == (routing["id"], best[category], "ok")


async def test_a_killed_server_is_restarted_and_answers_again(
    running_experts: RunningExperts, client: ExpertClient
) -> None:
    supervisor, name = running_experts.supervisor, running_experts.server
    reaper = supervisor.statuses[name].pid
    before = running_experts.processes()
    assert len(before) > 2  # an engine beside the API server, or the kill below proves little
    (api_server,) = (pid for pid in before if pid != reaper and _parent(pid) == reaper)
    os.kill(api_server, signal.SIGKILL)
    async with asyncio.timeout(180):
        status = await supervisor.until(
            name, lambda status: status.state is ServerState.READY and status.restarts > 0
        )
    assert "signal 9" in status.detail
    assert not any(alive(pid) for pid in before)
    reply = await client.complete(running_experts.registry.get("smollm2"), ask("Hello!"))
    assert reply.status == 200


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[1])
