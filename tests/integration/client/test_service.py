"""The client against the real service: every call, and no field that its documents do not name."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from client import ApiDocument, ApiRefused, AsyncClient, Client, Decided, Delta, Ended
from tests.integration.app.world import CODE, TALK, Api


@pytest.fixture
async def api(service: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.url) as client:
        yield client


def unknown(document: BaseModel, path: str = "") -> set[str]:
    """Fields that came and that the client's documents do not name."""
    found = {f"{path}.{name}" for name in (document.model_extra or {}) if name != "object"}
    for name in type(document).model_fields:
        value = getattr(document, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, ApiDocument):
                found |= unknown(each, f"{path}.{name}")
    return found


async def test_an_answer_its_decision_and_its_rating(api: AsyncClient) -> None:
    said = await api.chat(CODE)
    assert said.decision is not None
    assert (said.expert, said.decision.expert, said.decision.category) == ("coder", "coder", "coding")
    assert said.text and said.usage.completion
    rated = await api.feedback(said.decision.id, score=0.5, comment="fair")
    assert (rated.decision_id, rated.value) == (said.decision.id, 0.5)
    record = await api.decision(said.decision.id)
    assert [each.comment for each in record.feedback] == ["fair"]
    assert (await api.decisions(1, expert="coder"))[0].id == record.id
    assert await api.decisions(expert="talker") == ()
    assert unknown(record) | unknown(said.decision) | unknown(rated) == set()


async def test_a_document_gives_back_what_the_api_sent_and_shadows_are_read(
    api: AsyncClient, service: Api
) -> None:
    said = await api.chat(TALK)
    assert said.decision is not None
    assert said.decision.document() == said.document["routing"]
    for _ in range(500):
        record = await api.decision(said.decision.id)
        if record.shadows:
            break
        await asyncio.sleep(0.02)
    assert record.shadows
    assert unknown(record) == set()
    assert (await api.decision(said.decision.id)).document() == await service.decision(said.decision.id)
    assert (await api.composition()).document() == (await service.http.get("/v1/composition")).json()


async def test_a_stream_begins_with_its_decision_and_ends_with_its_tokens(api: AsyncClient) -> None:
    async with api.stream_chat(TALK) as events:
        heard = [event async for event in events]
    assert isinstance(heard[0], Decided)
    assert heard[0].decision.expert == "talker"
    assert "".join(each.text for each in heard if isinstance(each, Delta))
    assert isinstance(heard[-1], Ended)
    assert (heard[-1].finish_reason, heard[-1].usage.completion is None) == ("stop", False)


async def test_the_trace_of_a_strategy_is_read_whole(api: AsyncClient) -> None:
    async with api.stream_chat(CODE, routing={"strategy": "panel"}) as events:
        decisions = [event.decision async for event in events if isinstance(event, Decided)]
    trace = decisions[-1].trace
    assert trace is not None
    assert len(trace.steps) > 1
    assert unknown(decisions[-1]) == set()


async def test_what_the_service_is_made_of(api: AsyncClient, service: Api) -> None:
    experts = await api.experts()
    assert {each.name: each.health.state for each in experts} == dict.fromkeys(service.fakes, "up")
    composition = await api.composition()
    assert composition.map == {"coding": "coder", "smalltalk": "talker"}
    assert "coterie/coding" in await api.models()
    assert (await api.readiness()).ready
    reloaded = await api.reload()
    assert (reloaded.changed, reloaded.new) == (False, composition.digest)
    decision = await api.route(TALK, routing={"exclude": ["talker"]})
    assert decision.expert == "backup"
    documents = (*experts, composition, reloaded, decision)
    assert set().union(*(unknown(each) for each in documents)) == set()


async def test_the_synchronous_client_says_the_same(service: Api) -> None:
    def scene() -> None:
        with Client(service.url) as api:
            assert api.route(CODE).expert == api.chat(CODE).expert == "coder"
            with api.stream_chat(TALK) as events:
                assert isinstance(next(events), Decided)
            with pytest.raises(ApiRefused) as caught:
                api.chat("Hello", model="nobody")
            assert (caught.value.status, caught.value.code) == (404, "model_not_found")

    await asyncio.to_thread(scene)
