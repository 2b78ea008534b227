"""Two compositions side by side: a conversation stays with one, and a shadow asks the other's expert."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.errors import StartError
from app.startup import open_services
from routers.canary import CanaryFolders
from routers.composition import CompositionError, ExpertCard, load_composition, save_composition
from tests.integration.app.test_shadow import shadows_of
from tests.integration.app.world import CODE, Api, WordEncoder, World


def swapped(world: World) -> Path:
    """A candidate whose coder talks and whose talker codes."""
    served = load_composition(world.folder / "composition")
    candidate = world.folder / "candidate"
    save_composition(replace(served, utilities=served.utilities[::-1]), candidate)
    return candidate


def folders(world: World) -> CanaryFolders:
    return CanaryFolders(world.folder / "composition")


async def reload(api: Api) -> dict[str, Any]:
    response: httpx2.Response = await api.http.post("/v1/composition/reload")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def decided(api: Api, text: str, **fields: Any) -> dict[str, Any]:
    routing: dict[str, Any] = (await api.chat(text, **fields)).json()["routing"]
    return routing


async def test_a_canary_decides_its_share_of_conversations_and_keeps_them(world: World) -> None:
    folders(world).start(swapped(world), 0.5)
    async with world.serve() as api:
        shown = (await api.http.get("/v1/composition")).json()
        assert shown["canary"]["share"] == 0.5
        by_digest = Counter[str]()
        for number in range(40):
            name = f"conversation-{number}"
            first = await decided(api, CODE, routing={"conversation": name})
            second = await decided(api, CODE, routing={"conversation": name})
            assert first["composition"] == second["composition"]
            assert first["expert"] == {shown["digest"]: "coder"}.get(first["composition"], "talker")
            by_digest[first["composition"]] += 1
        assert by_digest.keys() == {shown["digest"], shown["canary"]["digest"]}
        assert min(by_digest.values()) >= 8


async def test_a_conversation_without_a_name_keeps_its_composition_as_it_grows(world: World) -> None:
    folders(world).start(swapped(world), 0.5)
    async with world.serve() as api:
        seen = set()
        for number in range(12):
            turns = [{"role": "user", "content": f"{CODE} Number {number}."}]
            digests = set()
            for _ in range(3):
                answer = (
                    await api.http.post("/v1/chat/completions", json={"model": "coterie", "messages": turns})
                ).json()
                digests.add(answer["routing"]["composition"])
                turns += [answer["choices"][0]["message"], {"role": "user", "content": "And in Go?"}]
            assert len(digests) == 1
            seen |= digests
        assert len(seen) == 2


async def test_a_running_service_takes_up_a_canary_promotes_it_and_goes_back(world: World) -> None:
    async with world.serve() as api:
        old = (await api.http.get("/v1/composition")).json()["digest"]
        new = load_composition(swapped(world)).digest
        folders(world).start(world.folder / "candidate", 0.25)
        assert (await reload(api))["canary"] == new
        folders(world).promote()
        done = await reload(api)
        assert (done["new"], done["canary"]) == (new, None)
        assert (await decided(api, CODE))["expert"] == "talker"
        folders(world).roll_back()
        assert (await reload(api))["new"] == old
        assert (await decided(api, CODE))["expert"] == "coder"
        folders(world).roll_back()
        assert (await reload(api))["new"] == new


async def test_a_shadow_asks_the_expert_that_the_other_composition_chooses(world: World) -> None:
    folders(world).start(swapped(world), 0.5)
    async with world.serve(shadow_rate=1, store_prompts=True) as api:
        rivals = {"coder": "talker", "talker": "coder"}
        for number in range(6):
            routing = await decided(api, f"{CODE} Number {number}.")
            (shadow,) = await shadows_of(api, routing["id"], 1)
            assert shadow["expert"] == rivals[routing["expert"]]
            stored = await api.decision(routing["id"])
            assert stored["answer"] == f"{routing['expert']} heard: {CODE} Number {number}."


def test_what_cannot_be_a_canary_is_refused(world: World) -> None:
    with pytest.raises(CompositionError, match="served already"):
        folders(world).start(world.folder / "composition", 0.1)
    with pytest.raises(CompositionError, match="no composition"):
        folders(world).start(world.folder / "nowhere", 0.1)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        folders(world).start(swapped(world), 1.0)
    for wrong in (folders(world).stop, folders(world).promote):
        with pytest.raises(CompositionError, match="no canary"):
            wrong()
    with pytest.raises(CompositionError, match="no canary was promoted"):
        folders(world).roll_back()


async def test_a_canary_with_an_expert_that_the_registry_lacks_is_refused_by_name(world: World) -> None:
    served = load_composition(world.folder / "composition")
    cards = (*served.experts[:2], ExpertCard("stranger", 3, 3))
    policy = replace(served.policy, generalist="stranger")
    save_composition(replace(served, experts=cards, policy=policy), world.folder / "candidate")
    folders(world).start(world.folder / "candidate", 0.1)
    with pytest.raises(StartError, match=r"the canary cannot be served: .*stranger.*coterie canary stop"):
        async with open_services(world.settings(), encoder=WordEncoder()):
            pass


async def test_a_broken_canary_file_says_how_to_end_it(world: World) -> None:
    folders(world).start(swapped(world), 0.1)
    (folders(world).canary / "canary.json").write_text('{"share": 3}')
    with pytest.raises(StartError, match="coterie canary stop"):
        async with open_services(world.settings(), encoder=WordEncoder()):
            pass
