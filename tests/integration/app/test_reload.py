"""A running service takes another composition, or refuses it, and drops no request either way."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.errors import StartError
from app.startup import open_services
from routers.composition import MANIFEST, load_composition, save_composition
from tests.integration.app.world import CODE, TALK, Api, WordEncoder, World, events_of, small_composition

PINS_CODE = "rules: [{name: mine, keywords: python, expert: backup}]"


def swap_experts(folder: Path) -> str:
    """Put another composition into `folder`, whose coder talks and whose talker codes; its digest."""
    loaded = load_composition(folder)
    return save_composition(replace(loaded, utilities=loaded.utilities[::-1]), folder)


async def reload(api: Api, **headers: str) -> httpx2.Response:
    return await api.http.post("/v1/composition/reload", headers=headers)


async def expert_of(api: Api, text: str) -> str:
    return str((await api.chat(text)).json()["routing"]["expert"])


async def test_a_reload_routes_by_the_new_folder_and_names_both_digests(world: World) -> None:
    async with world.serve() as api:
        old = (await api.http.get("/v1/composition")).json()["digest"]
        assert await expert_of(api, CODE) == "coder"
        new = swap_experts(world.folder / "composition")
        answer = await reload(api)
        assert answer.status_code == 200
        assert answer.json() == {
            "object": "composition.reload",
            "old": old,
            "new": new,
            "changed": True,
            "rules": 0,
            "canary": None,
            "workers": 1,
        }
        assert await expert_of(api, CODE) == "talker"
        assert (await api.http.get("/v1/composition")).json()["digest"] == new
        assert (await reload(api)).json()["changed"] is False
        assert 'coterie_reloads_total{result="done"} 2.0' in (await api.http.get("/metrics")).text


def without_its_arrays(folder: Path) -> None:
    (folder / "arrays.safetensors").unlink()


def with_a_changed_byte(folder: Path) -> None:
    arrays = folder / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x07")


def gone(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def with_an_expert_of_nowhere(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["experts"][0]["name"] = "nobody"
    (folder / MANIFEST).write_text(json.dumps(manifest))


def for_another_encoder(folder: Path) -> None:
    class Newer(WordEncoder):
        revision = "2"

    small_composition(folder, Newer())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_its_arrays, "arrays.safetensors"),
        (with_a_changed_byte, "does not have the digest"),
        (gone, "no composition in"),
        (with_an_expert_of_nowhere, "nobody"),
        (for_another_encoder, "words 2"),
    ],
)
async def test_a_composition_that_cannot_be_used_is_refused_and_the_old_one_stays(
    world: World, spoil: Any, reason: str
) -> None:
    async with world.serve() as api:
        old = (await api.http.get("/v1/composition")).json()["digest"]
        spoil(world.folder / "composition")
        refused = await reload(api)
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert error["code"] == "invalid_composition"
        assert reason in error["message"]
        assert (await api.http.get("/v1/composition")).json()["digest"] == old
        assert await expert_of(api, CODE) == "coder"


async def test_no_request_is_dropped_while_compositions_change(world: World) -> None:
    folder = world.folder / "composition"
    patient = {"timeouts": {"connect_s": 10, "first_byte_s": 10, "idle_s": 10, "total_s": 60}}
    async with world.serve(expert_fields=patient) as api:
        first = (await api.http.get("/v1/composition")).json()["digest"]
        stop = asyncio.Event()
        seen: list[tuple[int, str, str]] = []

        async def ask(number: int) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                stream = bool((number + count) % 2)
                answer = await api.chat(CODE, stream=stream, fake={"token_delay_s": 0.002})
                if answer.status_code != 200:
                    seen.append((answer.status_code, "", answer.text))
                    continue
                events = events_of(answer.text) if stream else [answer.json()]
                if stream:
                    assert events[-1] == "[DONE]"
                routing = events[0]["routing"]
                seen.append((200, routing["composition"], routing["expert"]))

        askers = [asyncio.create_task(ask(number)) for number in range(8)]
        digests = {first}
        for _ in range(6):
            await asyncio.sleep(0.1)
            digests.add(swap_experts(folder))
            answers = await asyncio.gather(reload(api), reload(api))
            assert [answer.status_code for answer in answers] == [200, 200]
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*askers)
    assert len(seen) > 16
    assert {status for status, _, _ in seen} == {200}
    assert {digest for _, digest, _ in seen} == digests
    # Every answer came from the expert that its own composition maps to: nothing is half swapped.
    by_digest: dict[str, set[str]] = {}
    for _, digest, expert in seen:
        by_digest.setdefault(digest, set()).add(expert)
    assert by_digest[first] == {"coder"}
    assert all(len(experts) == 1 for experts in by_digest.values())


async def test_a_stream_that_began_before_a_reload_ends_as_it_began(world: World) -> None:
    async with world.serve() as api:
        body = {
            "model": "coterie",
            "messages": [{"role": "user", "content": CODE}],
            "stream": True,
            "fake": {"token_delay_s": 0.05},
        }
        async with api.http.stream("POST", "/v1/chat/completions", json=body) as response:
            swap_experts(world.folder / "composition")
            assert (await reload(api)).json()["changed"] is True
            text = (await response.aread()).decode()
        events = events_of(text)
        assert events[-1] == "[DONE]"
        assert events[0]["routing"]["expert"] == "coder"


async def test_with_keys_set_a_reload_needs_one(world: World) -> None:
    async with world.serve(api_keys="desk:s3cret") as api:
        assert (await reload(api)).status_code == 401
        assert (await reload(api, authorization="Bearer s3cret")).status_code == 200


async def test_without_keys_only_this_machine_reloads_and_no_web_page_does(world: World) -> None:
    async with world.serve() as api:
        assert (await reload(api, origin="http://evil.example")).status_code == 403
        # uvicorn takes a proxy on this machine at its word about who is calling.
        far = await reload(api, **{"x-forwarded-for": "203.0.113.7"})
        assert far.status_code == 403
        assert far.json()["error"]["code"] == "forbidden"
        assert (await reload(api)).status_code == 200


async def test_rules_decide_by_text_language_header_and_key(world: World) -> None:
    rules = world.folder / "rules.yaml"
    rules.write_text(
        "rules:\n"
        "  - {name: german, language: de, expert: backup}\n"
        "  - {name: billing, headers: {X-Team: billing}, category: coding}\n"
        "  - {name: desk, api_key: desk, keywords: weather, expert: coder}\n"
    )
    async with world.serve(rules=rules, api_keys="desk:one,other:two") as api:

        async def routed(text: str, key: str = "two", **headers: str) -> Mapping[str, Any]:
            answer = await api.http.post(
                "/v1/chat/completions",
                json={"model": "coterie", "messages": [{"role": "user", "content": text}]},
                headers={"authorization": f"Bearer {key}", **headers},
            )
            document: Mapping[str, Any] = answer.json()["routing"]
            return document

        german = await routed("Wie wird das Wetter morgen in der Stadt, und wie ist es in den Bergen?")
        assert (german["expert"], german["reason"], german["classification"]) == ("backup", "rule", "skipped")
        assert "'german'" in german["detail"]
        billing = await routed(TALK, **{"x-team": "billing"})
        assert (billing["expert"], billing["category"], billing["reason"]) == ("coder", "coding", "rule")
        assert (await routed(TALK, "one"))["expert"] == "coder"
        assert (await routed(TALK))["reason"] == "matched"
        assert (await routed(TALK, api_key="desk"))["reason"] == "matched"
        shown = await api.http.get("/v1/composition", headers={"authorization": "Bearer one"})
        assert [rule["name"] for rule in shown.json()["policy"]["rules"]] == ["german", "billing", "desk"]
        assert "weather" not in shown.text


async def test_rules_are_matched_away_from_the_event_loop(world: World) -> None:
    rules = world.folder / "rules.yaml"
    rules.write_text("rules: [{name: several, pattern: reverses, strategy: panel}]")
    async with world.serve(rules=rules) as api:
        body = {"model": "talker", "messages": [{"role": "user", "content": CODE}]}
        routing = (await api.http.post("/v1/route", json=body)).json()
        assert (routing["expert"], routing["strategy_source"]) == ("talker", "rule")
        assert "coterie_routing_seconds_count 1.0" in (await api.http.get("/metrics")).text


async def test_a_reload_reads_the_rules_again_and_refuses_bad_ones(world: World) -> None:
    rules = world.folder / "rules.yaml"
    rules.write_text("rules: []")
    async with world.serve(rules=rules) as api:
        rules.write_text(PINS_CODE)
        assert (await reload(api)).json()["rules"] == 1
        assert await expert_of(api, CODE) == "backup"
        rules.write_text(PINS_CODE.replace("backup", "nobody"))
        refused = await reload(api)
        assert refused.status_code == 422
        assert "rules.yaml:1: expert: " in refused.text
        assert await expert_of(api, CODE) == "backup"


async def test_rules_that_name_nobody_stop_the_start(world: World) -> None:
    rules = world.folder / "rules.yaml"
    rules.write_text(PINS_CODE.replace("backup", "bakup"))
    with pytest.raises(StartError, match=r"rules.yaml:1: expert: .*backup"):
        async with open_services(world.settings(rules=rules), encoder=WordEncoder()):
            pass
