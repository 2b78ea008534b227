"""The `coterie` command: against a running service, and as the processes it starts."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest

from app.errors import StartError
from app.server import serve
from app.settings import PROJECT, Settings
from benchmarks.postgres_server import Postgres
from experts.fake import RunningFake
from routers.encoder import Encoder
from tests.commands import Ran, coterie, coterie_beside
from tests.integration.app.world import CODE, Api, World, events_of, small_composition, write_registry

START_S = 60.0


async def run_process(*words: str, **environment: str) -> Ran:
    """The command as a process of its own."""
    process = await start(*words, **environment)
    out, err = await asyncio.wait_for(process.communicate(), START_S)
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def start(*words: str, **environment: str) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COTERIE_")}
    kept = {name: os.environ[name] for name in ("COTERIE_CACHE",) if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env={**clean, **kept, "COLUMNS": "160", "NO_COLOR": "1", **environment},
        start_new_session=True,  # without a terminal, as a daemon and as CI have it
    )


@pytest.fixture
def environment(tmp_path: Path, fakes: Mapping[str, RunningFake], encoder: Encoder) -> dict[str, str]:
    """What makes the commands serve the small world, with the encoder as shipped."""
    endpoints = {name: fake.endpoint for name, fake in fakes.items()}
    return {
        "COTERIE_EXPERTS": str(write_registry(tmp_path / "experts.yaml", endpoints)),
        "COTERIE_COMPOSITION": str(small_composition(tmp_path / "composition", encoder)),
        "COTERIE_DATA": str(tmp_path / "var"),
    }


async def test_ask_prints_the_answer_and_who_gave_it(api: Api) -> None:
    done = await coterie_beside("ask", "--url", api.url, CODE)
    assert (done.code, done.out) == (0, f"coder heard: {CODE}\n")
    for word in ("coder", "coding", "matched"):
        assert word in done.err


async def test_ask_reads_standard_input_and_pins(api: Api) -> None:
    done = await coterie_beside("ask", "--url", api.url, "-q", "-m", "talker", "-", stdin="from a pipe")
    assert done == Ran(0, "talker heard: from a pipe\n", "")


def test_a_question_of_blanks_is_refused_before_anybody_is_asked() -> None:
    for words in (("ask",), ("route",), ("prompts", "try", "math")):
        nowhere = ("--url", "http://127.0.0.1:9")
        for done in (coterie(*words, "-", *nowhere, stdin=" \n"), coterie(*words, " ", *nowhere)):
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), words
            assert "empty" in done.err, words


async def test_ask_says_what_went_wrong(api: Api) -> None:
    done = await coterie_beside("ask", "--url", api.url, "-m", "codr", "x")
    assert done.code == 1
    assert "Did you mean coder" in done.err


def test_commands_say_when_nothing_answers() -> None:
    done = coterie("route", "--url", "http://127.0.0.1:9", "x")
    assert done.code == 1
    assert "coterie up" in done.err
    assert "--local" in done.err


async def test_route_shows_the_ranking_and_its_json_is_the_document(api: Api) -> None:
    done = await coterie_beside("route", "--url", api.url, CODE)
    assert done.code == 0
    assert done.out.startswith("coder · matched · coding at 98")
    rows = [line.split()[:2] for line in done.out.splitlines() if "│" in line]
    assert rows[0] == ["→", "│"]
    done = await coterie_beside("route", "--url", api.url, "--json", "--exclude", "coder", CODE)
    assert json.loads(done.out)["expert"] == "backup"


async def test_experts_list_shows_health_or_reads_the_file(api: Api) -> None:
    done = await coterie_beside("experts", "list", "--url", api.url)
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[2:]] == ["coder", "talker", "backup"]
    assert "up" in done.out
    done = coterie("experts", "list", "--local", "--profile", "tiny", "--json")
    assert [expert["name"] for expert in json.loads(done.out)] == ["smollm2", "smollm2-friend"]


async def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = coterie("serve", COTERIE_PORT="many")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "COTERIE_PORT" in done.err
    done = await run_process("serve", "--experts", str(tmp_path / "none.yaml"), "--port", "0")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("coterie: ")
    assert "none.yaml" in done.err


async def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = coterie("up", "--console-port", port, "--port", "0", COTERIE_DATA=str(tmp_path))
        assert (done.code, port in done.err) == (1, True)
        with pytest.raises(StartError, match=port):
            await serve(Settings(port=int(port), data=tmp_path))


def test_db_upgrade_says_what_it_did(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'c.db'}"
    done = coterie("db", "upgrade", COTERIE_DATABASE_URL=url)
    assert done.code == 0
    assert (upgraded := re.search(r"to (\d{4})$", done.out.strip()))
    done = coterie("db", "upgrade", COTERIE_DATABASE_URL=url)
    assert done.out.strip().endswith(f"already at {upgraded.group(1)}")


@pytest.mark.postgres
async def test_an_outdated_postgresql_is_refused_with_the_command_to_run(
    postgres: Postgres, world: World
) -> None:
    url = postgres.new_database()
    with pytest.raises(StartError, match="coterie db upgrade"):
        async with world.serve(database_url=url):
            pass
    done = await coterie_beside("db", "upgrade", COTERIE_DATABASE_URL=url)
    assert done.code == 0, done.err


def test_route_decides_without_a_service(environment: dict[str, str]) -> None:
    done = coterie("route", "--local", "--json", CODE, **environment)
    assert done.code == 0, done.err
    assert json.loads(done.out)["category"] == "coding"


@contextlib.asynccontextmanager
async def serving(environment: Mapping[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`coterie serve` as a process, and its URL."""
    process = await start("serve", "--port", "0", **environment)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_S):
            while line := await process.stderr.readline():
                event = json.loads(line)
                if event.get("event") == "serving":
                    break
            else:
                raise AssertionError("it did not start")
        draining = asyncio.create_task(process.stderr.read())
        yield process, event["url"]
        await draining
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_stop_finishes_what_is_in_flight_and_keeps_its_decision(environment: dict[str, str]) -> None:
    body = {
        "model": "coterie",
        "messages": [{"role": "user", "content": "word " * 20}],
        "stream": True,
        "fake": {"token_delay_s": 0.05},
    }
    async with serving(environment) as (process, url), httpx2.AsyncClient(base_url=url, timeout=30) as http:
        await until_ok(f"{url}/healthz")
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            decision = response.headers["x-coterie-decision"]
            process.send_signal(signal.SIGTERM)
            text = (await response.aread()).decode()
        assert events_of(text)[-1] == "[DONE]"
        assert await asyncio.wait_for(process.wait(), 20) == 0
    with contextlib.closing(sqlite3.connect(Path(environment["COTERIE_DATA"]) / "coterie.db")) as kept:
        assert kept.execute("SELECT status FROM decisions WHERE id = ?", [decision]).fetchone() == ("ok",)


async def test_no_text_of_a_prompt_or_an_answer_is_logged(environment: dict[str, str]) -> None:
    """Not at the most talkative level, whatever becomes of the request, prompts kept or not."""
    secret = "my-secret-diary"
    environment |= {"COTERIE_LOG_LEVEL": "debug", "COTERIE_STORE_PROMPTS": "true"}
    process = await start("serve", "--port", str(port := free_port()), **environment)
    try:
        url = f"http://127.0.0.1:{port}"
        await until_ok(f"{url}/healthz")
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
            refusal = {"status": 400, "error": {"message": f"no {secret}"}}
            fakes: list[dict[str, object]] = [
                {},
                refusal,
                {"status": 500},
                {"rubbish_after": 0},
                {"die_after": 2},
            ]
            for fake in fakes:
                for stream in (False, True):
                    body = {"model": "coder", "messages": [{"role": "user", "content": secret}]}
                    await http.post("/v1/chat/completions", json={**body, "stream": stream, "fake": fake})
            decisions = (await http.get("/v1/decisions")).json()["data"]
            feedback = {"decision_id": decisions[0]["id"], "rating": 1, "comment": secret}
            assert (await http.post("/v1/feedback", json=feedback)).status_code == 201
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert decisions[0]["messages"][0]["content"] == secret
    assert {"ok", "error"} == {each["status"] for each in decisions}
    assert decisions[0]["id"] in said.decode()
    assert secret not in said.decode()


async def test_up_runs_everything_until_ctrl_c(environment: dict[str, str]) -> None:
    port, console_port = free_port(), free_port()
    process = await start("up", "--port", str(port), "--console-port", str(console_port), **environment)
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(START_S):
            while line := (await process.stdout.readline()).decode():
                said.append(line)
                if "  console  http" in line:
                    break
        assert any(line.startswith("api ") for line in said), said
        asked = await run_process("ask", "-q", CODE, COTERIE_PORT=str(port))
        assert asked == Ran(0, f"coder heard: {CODE}\n", "")
        await until_ok(f"http://127.0.0.1:{console_port}/_stcore/health")
        process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        assert rest.decode().rstrip().endswith("stopped")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for each in (port, console_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", each)) != 0


async def test_up_ends_when_the_api_cannot_start(environment: dict[str, str], tmp_path: Path) -> None:
    environment["COTERIE_COMPOSITION"] = str(tmp_path / "none")
    done = await run_process("up", "--no-console", "--port", str(free_port()), **environment)
    assert done.code == 1
    assert environment["COTERIE_COMPOSITION"] in done.out
    assert "code 1" in done.out


def test_help_shows_examples() -> None:
    for command in ("up", "serve", "ask", "route", "fit"):
        done = coterie(command, "--help")
        assert done.code == 0
        assert f"coterie {command}" in done.out


async def until_ok(url: str) -> None:
    async with asyncio.timeout(START_S), httpx2.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


async def test_a_hangup_and_the_command_reload_a_running_service(environment: dict[str, str]) -> None:
    async with serving(environment) as (process, url), httpx2.AsyncClient(base_url=url, timeout=30) as http:
        await until_ok(f"{url}/healthz")
        process.send_signal(signal.SIGHUP)
        for _ in range(200):
            if 'coterie_reloads_total{result="done"} 1.0' in (await http.get("/metrics")).text:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("it did not reload")
        done = await coterie_beside("reload", "--url", url, **environment)
        assert (done.code, done.err) == (0, "")
        assert "unchanged" in done.out
        (Path(environment["COTERIE_COMPOSITION"]) / "composition.json").write_text("{}")
        done = await coterie_beside("reload", "--url", url, **environment)
        assert (done.code, done.out) == (1, "")
        assert "old composition" in done.err
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0


def test_an_expert_is_added_from_its_description(environment: dict[str, str], tmp_path: Path) -> None:
    folder = environment["COTERIE_COMPOSITION"]
    words = ("experts", "add", "poet", "--composition", folder, "--description", "Writes verse in French.")
    done = coterie(*words, **environment)
    assert done.code == 1
    assert "how large is 'poet'?" in done.err
    done = coterie(*words, "--params-b", "3", **environment)
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "composition+poet" / "composition.json").read_text())
    assert [each["name"] for each in manifest["experts"]][-1] == "poet"
    assert manifest["joined"][0]["from"] == ["description"]
