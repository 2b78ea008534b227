"""Experts take turns: real requests to fake servers with vLLM's sleep mode, one of which fits at a time."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from experts.client import ExpertClient
from experts.errors import ExpertBusy, ExpertUnavailable
from experts.fake import FakeSleep, RunningFake, run_fake_expert
from experts.local.supervisor import SupervisorLimits
from experts.local.vllm import Server
from experts.registry import Registry
from experts.residency.live_residency import LiveResidency, ResidencyObserver
from experts.residency.resident_admission import ResidentAdmission
from experts.residency.server_switches import OwnServer, RunningServer, ServerSwitch
from experts.residency.sleep_endpoints import SleepEndpoints
from experts.residency_settings import ResidencySettings
from tests.integration.experts.conftest import ask, make_expert

PROJECT = Path(__file__).parents[3]


@dataclass
class Turns:
    """Two experts of 10 GB that take turns in 10 GB, and what their switches took."""

    residency: LiveResidency
    client: ExpertClient
    registry: Registry
    switches: list[tuple[str, str, str | None]]

    async def answer(self, name: str, **fields: Any) -> str:
        reply = await self.client.complete(self.registry.get(name), ask(**fields))
        return str(reply.body["choices"][0]["message"]["content"])

    async def until(self, name: str, state: str, *, in_use: int = 0, waiting: int = 0) -> None:
        async with asyncio.timeout(20):
            while True:
                facts = self.residency.facts(name)
                assert facts is not None
                if (facts.state, facts.in_use, facts.waiting) == (state, in_use, waiting):
                    return
                await asyncio.sleep(0.005)


@pytest.fixture
def fakes() -> Iterator[dict[str, RunningFake]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(run_fake_expert(name=name, sleep=FakeSleep(level=1)))
            for name in ("code", "chat")
        }


@asynccontextmanager
async def taking_turns(
    endpoints: dict[str, str],
    *,
    own: dict[str, ServerSwitch] | None = None,
    key: str | None = None,
    check_s: float = 60.0,
    **settings: Any,
) -> AsyncIterator[Turns]:
    given = {"memory_gb": 10, "policy": "lru", "batch_s": 0.05, **settings}
    section = ResidencySettings.model_validate(given)
    registry = Registry.of(
        *(make_expert(endpoint, name=name, memory_gb=10) for name, endpoint in endpoints.items()),
        residency=section,
    )
    secret = None if key is None else SecretStr(key)
    switches: dict[str, ServerSwitch] = {
        name: RunningServer(SleepEndpoints(endpoint.removesuffix("/v1"), secret))
        for name, endpoint in endpoints.items()
    }
    seen: list[tuple[str, str, str | None]] = []
    observer = ResidencyObserver(lambda server, kind, _, why: seen.append((server, kind, why)))
    residency = LiveResidency(registry, section, {**switches, **(own or {})}, observer, check_s=check_s)
    async with ExpertClient(admission=ResidentAdmission(residency)) as client:
        await residency.start()
        try:
            yield Turns(residency, client, registry, seen)
        finally:
            await residency.stop()


def of(fakes: dict[str, RunningFake]) -> dict[str, str]:
    return {name: fake.endpoint for name, fake in fakes.items()}


async def test_two_requests_at_once_are_answered_one_after_the_other(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes)) as turns:
        answers = await asyncio.gather(turns.answer("code"), turns.answer("chat"))
        assert list(answers) == ["code heard: hello there", "chat heard: hello there"]
        kinds = [(server, kind) for server, kind, _ in turns.switches]
        assert kinds == [("code", "wake"), ("code", "sleep"), ("chat", "wake")]
        assert fakes["code"].sleep.level == 1, "never both at once"


async def test_who_is_in_use_is_not_put_to_sleep(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes)) as turns:
        slow = asyncio.create_task(turns.answer("code", fake={"delay_s": 0.4}))
        await turns.until("code", "resident", in_use=1)
        other = asyncio.create_task(turns.answer("chat"))
        await turns.until("chat", "asleep", waiting=1)
        await asyncio.sleep(0.1)
        assert fakes["code"].sleep.level is None
        assert await slow == "code heard: hello there"
        assert await other == "chat heard: hello there"


async def test_requests_are_batched_before_a_switch(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), batch_s=30) as turns:
        slow = asyncio.create_task(turns.answer("code", fake={"delay_s": 0.3}))
        await turns.until("code", "resident", in_use=1)
        other = asyncio.create_task(turns.answer("chat"))
        await turns.until("chat", "asleep", waiting=1)
        assert await turns.answer("code") == "code heard: hello there", "before the older request for chat"
        await asyncio.gather(slow, other)
        assert [kind for _, kind, _ in turns.switches] == ["wake", "sleep", "wake"]


async def test_a_stream_keeps_its_server_until_it_ends(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes)) as turns:
        body = ask(fake={"token_delay_s": 0.05})
        async with turns.client.stream(turns.registry.get("code"), body) as stream:
            other = asyncio.create_task(turns.answer("chat"))
            await turns.until("chat", "asleep", waiting=1)
            async for _ in stream:
                assert fakes["code"].sleep.level is None
        assert await other == "chat heard: hello there"


async def test_level_2_reads_the_weights_again(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), leaves="level2") as turns:
        for name in ("code", "chat", "code"):
            assert await turns.answer(name) == f"{name} heard: hello there"
        calls = fakes["code"].sleep.calls
        reading = ["/wake_up weights", "/collective_rpc reload_weights", "/wake_up kv_cache", "/wake_up"]
        assert calls == [*reading, "/sleep 2", *reading], "at first nobody knows the level"


async def test_weights_that_find_no_place_in_host_memory_are_discarded(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), host_memory_gb=5) as turns:
        await turns.answer("code")
        await turns.answer("chat")
        assert fakes["code"].sleep.level == 2


async def test_a_wake_that_fails_is_told_and_frees_the_memory(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.wake_status = 500
    async with taking_turns(of(fakes)) as turns:
        with pytest.raises(ExpertUnavailable, match=r"could not be loaded: /wake_up answered 500"):
            await turns.answer("code")
        assert await turns.answer("chat") == "chat heard: hello there"
        fakes["code"].sleep.wake_status = 200
        assert await turns.answer("code") == "code heard: hello there"


async def test_a_server_that_says_it_woke_and_sleeps_on_is_told(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.wakes = False
    async with taking_turns(of(fakes)) as turns:
        with pytest.raises(ExpertUnavailable, match="it still sleeps"):
            await turns.answer("code")


async def test_a_wake_that_takes_too_long_is_undone(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.wake_s = 0.5
    async with taking_turns(of(fakes), wake_s=0.1) as turns:
        with pytest.raises(ExpertUnavailable, match=r"not done after 0\.1 s"):
            await turns.answer("code")
        assert await turns.answer("chat") == "chat heard: hello there"


async def test_a_server_without_sleep_mode_is_told_of_it(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns({"bare": fakes["code"].endpoint + "x/v1"}) as turns:
        assert turns.residency.taken_gb == 10, "it runs, as far as we know"
        with pytest.raises(ExpertUnavailable, match="VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode"):
            await turns.answer("bare")


async def test_a_server_that_dies_asleep_is_told_and_others_go_on(fakes: dict[str, RunningFake]) -> None:
    with contextlib.ExitStack() as stack:
        mortal = stack.enter_context(run_fake_expert(name="mortal", sleep=FakeSleep(level=1)))
        async with taking_turns({"mortal": mortal.endpoint, **of(fakes)}) as turns:
            await turns.answer("code")
            stack.close()
            with pytest.raises(ExpertUnavailable, match="refuses the connection"):
                await turns.answer("mortal")
            assert await turns.answer("chat") == "chat heard: hello there"


async def test_a_server_that_does_not_fall_asleep_keeps_its_memory(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.sleep_status = 500
    async with taking_turns(of(fakes), wait_s=0.3, check_s=0.05) as turns:
        await turns.answer("code")
        with pytest.raises(ExpertBusy, match=r"is not loaded in 0\.3 s"):
            await turns.answer("chat")
        fakes["code"].sleep.sleep_status, fakes["code"].sleep.level = 200, 1
        turns.residency.settings = turns.residency.settings.model_copy(update={"wait_s": 20.0})
        assert await turns.answer("chat") == "chat heard: hello there", "it was found asleep after all"


async def test_a_request_waits_no_longer_than_it_may(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), wait_s=0.2) as turns:
        slow = asyncio.create_task(turns.answer("code", fake={"delay_s": 0.6}))
        await turns.until("code", "resident", in_use=1)
        with pytest.raises(ExpertBusy, match=r"others are in use"):
            await turns.answer("chat")
        await slow
        assert await turns.answer("code") == "code heard: hello there", "it takes requests again"


async def test_no_more_requests_wait_than_may(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.wake_s = 0.3
    async with taking_turns(of(fakes), max_waiting=1) as turns:
        first = asyncio.create_task(turns.answer("code"))
        await turns.until("code", "waking", waiting=1)
        with pytest.raises(ExpertBusy, match="1 requests wait for it"):
            await turns.answer("code")
        assert await first == "code heard: hello there"


async def test_clients_that_leave_while_they_wait_are_forgotten(fakes: dict[str, RunningFake]) -> None:
    fakes["code"].sleep.wake_s = 0.2
    async with taking_turns(of(fakes)) as turns:
        waiting = [asyncio.create_task(turns.answer("code")) for _ in range(5)]
        await turns.until("code", "waking", waiting=5)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await turns.until("code", "resident")
        assert await turns.answer("chat") == "chat heard: hello there"


async def test_the_key_of_the_development_endpoints_is_sent_and_asked_for(
    fakes: dict[str, RunningFake],
) -> None:
    for fake in fakes.values():
        fake.sleep.key = "sesame"
    async with taking_turns(of(fakes), key="sesame") as turns:
        assert await turns.answer("code") == "code heard: hello there"
    async with taking_turns(of(fakes), key="wrong") as turns:
        with pytest.raises(ExpertUnavailable, match=r"residency\.key_env") as caught:
            await turns.answer("chat")
        assert "sesame" not in caught.value.message


async def test_who_somebody_else_woke_is_noticed(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), check_s=0.05) as turns:
        fakes["chat"].sleep.level = None
        await turns.until("chat", "resident")
        assert await turns.answer("chat") == "chat heard: hello there"
        assert turns.switches == []


async def test_more_than_fits_at_the_start_is_put_to_sleep(fakes: dict[str, RunningFake]) -> None:
    for fake in fakes.values():
        fake.sleep.level = None
    async with taking_turns(of(fakes)) as turns:
        await turns.until("code", "asleep")
        await turns.until("chat", "resident")
        assert turns.residency.taken_gb == 10


async def test_the_predictor_loads_in_advance_where_there_is_room(fakes: dict[str, RunningFake]) -> None:
    async with taking_turns(of(fakes), memory_gb=20, policy="predictor") as turns:
        await turns.until("code", "resident")
        await turns.until("chat", "resident")


def own_server(name: str, logs: Path) -> OwnServer:
    """A fake expert as a process of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = (sys.executable, "-m", "experts.fake", "--port", str(port), "--name", name)
    server = Server(name, command, port, environment={"PYTHONPATH": str(PROJECT)})
    return OwnServer(server, logs, SupervisorLimits(ready_s=60, poll_s=0.05, stop_s=5))


async def test_servers_of_ours_are_started_and_stopped_in_turn(tmp_path: Path) -> None:
    own = {name: own_server(name, tmp_path) for name in ("code", "chat")}
    endpoints = {name: f"http://127.0.0.1:{each.server.port}/v1" for name, each in own.items()}
    async with taking_turns(endpoints, own=dict(own), leaves="stopped") as turns:
        assert await turns.answer("code") == "code heard: hello there"
        assert await turns.answer("chat") == "chat heard: hello there"
        facts = turns.residency.facts("code")
        assert facts is not None and (facts.state, facts.absence) == ("asleep", "stopped")
        assert not listens(own["code"].server.port)
        os.killpg(child_of(own["chat"]), signal.SIGKILL)
        await turns.until("chat", "asleep")
        assert await turns.answer("chat") == "chat heard: hello there", "started again when it is asked"
    assert not listens(own["chat"].server.port)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def child_of(own: OwnServer) -> int:
    """The server's own process, below its reaper."""
    reaper = own.pid
    assert reaper is not None
    return int(Path(f"/proc/{reaper}/task/{reaper}/children").read_text().split()[0])


async def test_a_server_of_ours_that_does_not_start_is_told_without_its_log(tmp_path: Path) -> None:
    own = own_server("code", tmp_path)
    own.server = replace(own.server, command=(sys.executable, "-c", "raise SystemExit('no such model')"))
    endpoint = f"http://127.0.0.1:{own.server.port}/v1"
    async with taking_turns({"code": endpoint}, own={"code": own}, leaves="stopped") as turns:
        with pytest.raises(ExpertUnavailable, match=r"its server did not start \(crashed\)") as caught:
            await turns.answer("code")
        assert str(tmp_path) not in caught.value.message
        ((_, kind, why),) = turns.switches
        assert kind == "wake" and why is not None and str(tmp_path) in why, "operators see it"


async def test_a_server_of_ours_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    own = own_server("code", tmp_path / "logs")
    async with taking_turns({"code": f"http://127.0.0.1:{own.server.port}/v1"}, own={"code": own}) as turns:
        with pytest.raises(ExpertUnavailable, match="could not be loaded"):
            await turns.answer("code")
        assert turns.residency.taken_gb == 0
