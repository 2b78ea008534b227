import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from experts.local.errors import Cause, ServerError
from experts.local.supervisor import ServerState, ServerStatus, Supervisor
from experts.local.vllm import Server
from tests.unit.experts_local.conftest import (
    QUICK,
    ROOT,
    alive,
    children,
    failing,
    free_port,
    repository_on_path,
    stand_in,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def becomes(supervisor: Supervisor, name: str, state: ServerState, restarts: int = 0) -> ServerStatus:
    async with asyncio.timeout(60):
        return await supervisor.until(
            name, lambda status: status.state is state and status.restarts >= restarts
        )


def server_pid(supervisor: Supervisor, name: str) -> int:
    reaper = supervisor.statuses[name].pid
    assert reaper is not None
    return children(reaper)[0]


async def test_servers_are_ready_after_the_start_and_gone_after_the_stop(tmp_path: Path) -> None:
    async with Supervisor([stand_in("a"), stand_in("b")], logs=tmp_path, limits=QUICK) as supervisor:
        pids = [server_pid(supervisor, name) for name in ("a", "b")]
        assert {status.state for status in supervisor.statuses.values()} == {ServerState.READY}
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert {status.state for status in supervisor.statuses.values()} == {ServerState.STOPPED}
    assert "serving" in supervisor.log("a").read_text()


async def test_the_fake_expert_can_be_supervised(tmp_path: Path) -> None:
    port = free_port()
    server = Server(
        "fake",
        (sys.executable, "-m", "experts.fake", "--port", str(port)),
        port,
        environment={"PYTHONPATH": str(ROOT)},
    )
    async with (
        Supervisor([server], logs=tmp_path, limits=QUICK),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/v1/models") as response,
    ):
        assert response.status == 200


async def test_a_killed_server_is_started_again_and_both_logs_are_kept(tmp_path: Path) -> None:
    changes: list[ServerState] = []
    async with Supervisor(
        [stand_in("a")], logs=tmp_path, limits=QUICK, on_change=lambda status: changes.append(status.state)
    ) as supervisor:
        first = server_pid(supervisor, "a")
        os.kill(first, signal.SIGKILL)
        status = await becomes(supervisor, "a", ServerState.READY, restarts=1)
        assert "signal 9" in status.detail
        assert server_pid(supervisor, "a") != first
    assert changes.index(ServerState.RESTARTING) < len(changes) - 2
    assert (tmp_path / "a.log").exists()
    assert (tmp_path / "a.log.1").exists()


async def test_what_a_dead_server_leaves_behind_is_ended_before_the_restart(tmp_path: Path) -> None:
    async with Supervisor([stand_in("a", "engine")], logs=tmp_path, limits=QUICK) as supervisor:
        server = server_pid(supervisor, "a")
        (engine,) = children(server)
        os.kill(server, signal.SIGKILL)
        await becomes(supervisor, "a", ServerState.READY, restarts=1)
        assert not alive(engine)


async def test_a_server_that_keeps_dying_has_failed_after_a_bounded_number_of_restarts(
    tmp_path: Path,
) -> None:
    async with Supervisor([stand_in("a"), stand_in("b")], logs=tmp_path, limits=QUICK) as supervisor:
        for restarts in range(QUICK.max_restarts + 1):
            await becomes(supervisor, "a", ServerState.READY, restarts)
            os.kill(server_pid(supervisor, "a"), signal.SIGKILL)
        error = await asyncio.wait_for(supervisor.failed(), 60)
        assert (error.server, error.cause, error.exit_code) == ("a", Cause.CRASHED, 128 + 9)
        assert "2 restarts" in str(error)
        assert supervisor.statuses["a"].state is ServerState.FAILED
        assert supervisor.statuses["b"].state is ServerState.READY


async def test_a_server_that_serves_steadily_has_its_restarts_forgotten(tmp_path: Path) -> None:
    limits = replace(QUICK, stable_s=0.2)
    async with Supervisor([stand_in("a")], logs=tmp_path, limits=limits) as supervisor:
        os.kill(server_pid(supervisor, "a"), signal.SIGKILL)
        await becomes(supervisor, "a", ServerState.READY, restarts=1)
        async with asyncio.timeout(60):
            await supervisor.until("a", lambda status: status.restarts == 0)


async def test_one_that_does_not_start_stops_the_others_and_says_why(tmp_path: Path) -> None:
    crash = "import sys; print('ValueError: max_model_len is too large', file=sys.stderr); sys.exit(3)"
    supervisor = Supervisor([stand_in("good"), failing("bad", crash)], logs=tmp_path, limits=QUICK)
    with pytest.raises(ServerError, match="max_model_len is too large") as caught:
        await supervisor.start()
    assert (caught.value.server, caught.value.cause, caught.value.exit_code) == ("bad", Cause.CRASHED, 3)
    assert str(tmp_path / "bad.log") in str(caught.value)
    assert supervisor.statuses["good"].state is ServerState.STOPPED
    assert supervisor.statuses["good"].pid is None


async def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        supervisor = Supervisor([stand_in("a"), stand_in("b", port=port)], logs=tmp_path, limits=QUICK)
        with pytest.raises(ServerError, match=f"b: port {port} on 127.0.0.1 is taken") as caught:
            await supervisor.start()
    assert caught.value.cause is Cause.PORT_TAKEN
    assert os.listdir(tmp_path) == []


async def test_a_missing_program_is_a_missing_environment(tmp_path: Path) -> None:
    server = Server("a", (str(tmp_path / "no" / "python"), "-m", "vllm"), free_port())
    with pytest.raises(ServerError) as caught:
        await Supervisor([server], logs=tmp_path, limits=QUICK).start()
    assert caught.value.cause is Cause.NO_ENVIRONMENT


async def test_a_server_that_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    limits = replace(QUICK, ready_s=0.5)
    supervisor = Supervisor([failing("a", "import time; time.sleep(60)")], logs=tmp_path, limits=limits)
    with pytest.raises(ServerError, match=r"0\.5 s") as caught:
        await supervisor.start()
    assert caught.value.cause is Cause.NOT_READY


async def test_a_server_that_runs_but_no_longer_answers_is_restarted(tmp_path: Path) -> None:
    limits = replace(QUICK, unresponsive_s=0.2)
    async with Supervisor([stand_in("a")], logs=tmp_path, limits=limits) as supervisor:
        (tmp_path / "sick").touch()
        status = await becomes(supervisor, "a", ServerState.RESTARTING)
        assert "has not answered" in status.detail
        (tmp_path / "sick").unlink()
        await becomes(supervisor, "a", ServerState.READY, restarts=1)


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    limits = replace(QUICK, stop_s=0.3)
    async with Supervisor([stand_in("a", "stubborn")], logs=tmp_path, limits=limits) as supervisor:
        pid = server_pid(supervisor, "a")
    assert not alive(pid)


async def test_a_start_that_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    supervisor = Supervisor([failing("a", "import time; time.sleep(60)")], logs=tmp_path, limits=QUICK)
    start = asyncio.create_task(supervisor.start())
    async with asyncio.timeout(60):
        reaper = (await supervisor.until("a", lambda status: status.pid is not None)).pid
    assert reaper is not None
    await asyncio.to_thread(wait_until, lambda: children(reaper))
    pid = server_pid(supervisor, "a")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not alive(pid)


async def test_our_own_settings_stay_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_DATABASE_URL", "postgresql://user:secret@host/db")
    server = stand_in("a")
    added = Server(server.name, server.command, server.port, environment={"ADDED_ONE": "1"})
    async with Supervisor([added], logs=tmp_path, limits=QUICK) as supervisor:
        assert "serving {'ADDED_ONE'}" in supervisor.log("a").read_text()


def test_no_server_outlives_us_when_we_are_killed(tmp_path: Path) -> None:
    port = free_port()
    script = f"""
import asyncio
from dataclasses import replace
from pathlib import Path
from experts.local.supervisor import Supervisor
from tests.unit.experts_local.conftest import QUICK, children, stand_in

async def main():
    async with Supervisor(
        [stand_in("a", "engine", port={port})], logs=Path({str(tmp_path)!r}), limits=QUICK
    ) as supervisor:
        server = children(supervisor.statuses["a"].pid)[0]
        print(server, *children(server), flush=True)
        await supervisor.failed()

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=repository_on_path()
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids))


async def test_with_no_server_there_is_nothing_to_start(tmp_path: Path) -> None:
    async with Supervisor([], logs=tmp_path, limits=QUICK) as supervisor:
        assert supervisor.statuses == {}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(supervisor.failed(), 0.05)
