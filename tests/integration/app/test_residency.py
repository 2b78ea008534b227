"""A service whose experts do not all fit: what clients and operators see."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.root import build
from app.errors import StartError
from app.startup import open_services
from experts.fake import FakeSleep, RunningFake, run_fake_expert
from tests.integration.app.world import CODE, EXPERTS, TALK, Api, WordEncoder, World, small_world

ONE_FITS = {"memory_gb": 10, "policy": "lru", "batch_s": 0.05}
TAKES_10_GB = {"memory_gb": 10}


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[World]:
    """The world's experts, all asleep at first; the backup is always there."""
    with ExitStack() as stack:
        fakes: dict[str, RunningFake] = {
            name: stack.enter_context(
                run_fake_expert(name=name, sleep=FakeSleep(level=None if name == "backup" else 1))
            )
            for name in EXPERTS
        }
        world = small_world(tmp_path, fakes)
        world.own |= {"coder": TAKES_10_GB, "talker": TAKES_10_GB}
        yield world


async def experts_of(api: Api) -> dict[str, dict[str, Any]]:
    document = (await api.http.get("/v1/experts")).json()
    return {each["name"]: each for each in document["data"]}


async def test_requests_for_experts_that_sleep_are_answered_by_them(sleepers: World) -> None:
    async with sleepers.serve(residency=ONE_FITS) as api:
        before = await experts_of(api)
        assert {name: each["health"]["state"] for name, each in before.items()} == {
            "coder": "asleep",
            "talker": "asleep",
            "backup": "up",
        }
        assert (await api.http.get("/readyz")).status_code == 200
        both = await asyncio.gather(api.chat(CODE), api.chat(TALK, stream=True))
        assert [each.headers["x-coterie-expert"] for each in both] == ["coder", "talker"]
        assert {each.headers["x-coterie-reason"] for each in both} == {"matched"}
        await api.services.health.check()
        after = await experts_of(api)
        assert sorted(after[name]["health"]["state"] for name in ("coder", "talker")) == ["asleep", "up"]
        assert after["backup"]["residency"] is None
        loaded = next(each for each in after.values() if each["health"]["state"] == "up")
        assert loaded["residency"] | {"absence": None, "detail": ""} == {
            "state": "resident",
            "absence": None,
            "memory_gb": 10.0,
            "in_use": 0,
            "waiting": 0,
            "detail": "",
        }
        metrics = (await api.http.get("/metrics")).text
        assert 'coterie_residency_switches_total{kind="wake",result="ok",server="coder"} 1.0' in metrics
        assert "coterie_resident_gb 10.0" in metrics


async def test_an_expert_that_cannot_be_woken_gives_way_to_the_next_best(sleepers: World) -> None:
    sleepers.fakes["coder"].sleep.wake_status = 500
    async with sleepers.serve(residency=ONE_FITS) as api:
        response = await api.chat(CODE)
        assert response.headers["x-coterie-reason"] == "spilled"
        assert response.headers["x-coterie-expert"] == "backup"
        told = (await experts_of(api))["coder"]
        assert told["health"]["state"] == "down"
        assert "could not be loaded" in told["health"]["detail"]


async def test_a_pinned_expert_that_is_not_loaded_in_time_is_an_error(sleepers: World) -> None:
    sleepers.fakes["talker"].sleep.wake_s = 5.0
    async with sleepers.serve(residency={**ONE_FITS, "wait_s": 0.1}) as api:
        response = await api.chat(TALK, model="talker")
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "expert_busy"
        assert "is not loaded in 0.1 s" in response.json()["error"]["message"]


async def test_the_servers_development_endpoints_are_not_reached_through_the_api(sleepers: World) -> None:
    async with sleepers.serve(residency=ONE_FITS) as api:
        for path in ("/sleep", "/wake_up", "/collective_rpc", "/v1/sleep"):
            assert (await api.http.post(path)).status_code == 404


async def test_a_second_process_may_not_manage_the_same_memory(sleepers: World) -> None:
    async with sleepers.serve(residency=ONE_FITS):
        with pytest.raises(StartError, match="needs the API to be one process"):
            async with open_services(sleepers.settings(residency=ONE_FITS), encoder=WordEncoder()):
                pass
    async with sleepers.serve(residency=ONE_FITS) as api:
        assert (await api.chat(CODE)).status_code == 200, "the lock is given back"


async def test_several_workers_may_not_either(sleepers: World) -> None:
    with pytest.raises(StartError, match=r"COTERIE_WORKERS: .* one process, not 2"):
        async with open_services(sleepers.settings(residency=ONE_FITS, workers=2), encoder=WordEncoder()):
            pass


async def test_a_missing_key_is_told_at_the_start(sleepers: World) -> None:
    section = {**ONE_FITS, "key_env": "NOBODY_SET_THIS"}
    with pytest.raises(StartError, match="NOBODY_SET_THIS is not set"):
        async with open_services(sleepers.settings(residency=section), encoder=WordEncoder()):
            pass


def test_experts_that_take_turns_are_started_as_they_are_needed(tmp_path: Path) -> None:
    """And refuses to leave to others what has to be started in turn."""
    file = tmp_path / "experts.yaml"
    file.write_text(
        "residency: {memory_gb: 8, leaves: stopped}\n"
        "experts:\n"
        "  - {name: code, model: m, params_b: 1, context_length: 512, memory_gb: 8,\n"
        "     local: {source: nowhere, port: 8399, max_model_len: 512}}\n"
    )
    result = CliRunner().invoke(build(), ["up", "--no-local-experts", "--experts", str(file), "--port", "0"])
    assert result.exit_code == 1
    assert "code takes turns with others" in " ".join(result.output.split())
