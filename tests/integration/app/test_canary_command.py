"""`coterie canary` and `coterie eval feedback` on a running service, from a canary's start to a rollback."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.root import build
from routers.composition import load_composition, save_composition
from tests.integration.app.test_shadow import shadows_of
from tests.integration.app.world import CODE, Api, WordEncoder, World

RIGHT = {"kind": "words", "any": ["talker"]}
"""A check that the talker's answers alone meet: the fake expert says its name."""


async def run(*words: str, composition: Path | None = None, api: Api | None = None) -> Result:
    command = [*words, *(("--composition", str(composition)) if composition else ())]
    if api is not None:
        command += ["--api", api.url]
    return await asyncio.to_thread(CliRunner().invoke, build(), command)


def swapped(world: World) -> Path:
    served = load_composition(world.folder / "composition")
    candidate = world.folder / "candidate"
    save_composition(replace(served, utilities=served.utilities[::-1]), candidate)
    return candidate


async def ask(api: Api, count: int) -> None:
    for number in range(count):
        routing: dict[str, Any] = (await api.chat(f"{CODE} Number {number}.")).json()["routing"]
        await shadows_of(api, routing["id"], 1)


async def test_a_better_canary_is_promoted_when_it_is_shown_and_rolled_back_by_one_command(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, candidate = world.folder / "composition", swapped(world)
    monkeypatch.setattr("routers.encoder.load_encoder", lambda **_: WordEncoder())
    async with world.serve(shadow_rate=1, store_prompts=True) as api:
        old = load_composition(served).digest
        began = await run("canary", "start", str(candidate), "--share", "0.5", composition=served, api=api)
        assert began.exit_code == 0, began.output
        await ask(api, 12)
        early = await run("canary", "promote", "--least", "10", composition=served, api=api)
        assert early.exit_code == 1
        assert "not promoted" in early.output
        suite = world.folder / "suite.jsonl"
        prompts = [f"{CODE} Number {number}." for number in range(12)]
        rows = [
            {"id": str(number), "category": "coding", "prompt": prompt, "check": RIGHT}
            for number, prompt in enumerate(prompts)
        ]
        suite.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        rated = await run("eval", "feedback", "--suite", str(suite), api=api)
        assert "24 of 24 unrated answers rated" in rated.output
        again = await run("eval", "feedback", "--suite", str(suite), api=api)
        assert "0 of 0" in again.output
        shown = await run("canary", "status", "--least", "10", "--json", composition=served, api=api)
        report = json.loads(shown.output)
        assert (report["by"], report["compared"], report["verdict"]) == ("paired", 12, "promote")
        assert report["difference"] == {"value": 1.0, "low": 1.0, "high": 1.0}
        promoted = await run("canary", "promote", "--least", "10", composition=served, api=api)
        assert promoted.exit_code == 0, promoted.output
        now = (await api.http.get("/v1/composition")).json()
        assert (now["digest"] != old, now["canary"]) == (True, None)
        back = await run("canary", "rollback", composition=served, api=api)
        assert back.exit_code == 0
        assert (await api.http.get("/v1/composition")).json()["digest"] == old


async def test_without_a_service_the_folders_change_and_the_command_says_that_nobody_read_them(
    world: World,
) -> None:
    served = world.folder / "composition"
    swapped(world)
    words = ("canary", "start", str(world.folder / "candidate"), "--api", "http://127.0.0.1:9")
    done = await run(*words, composition=served)
    assert "no service has read them yet" in done.output
    assert (served.parent / "composition.canary" / "canary.json").is_file()
    stopped = await run("canary", "stop", "--api", "http://127.0.0.1:9", composition=served)
    assert stopped.exit_code == 0
    twice = await run("canary", "stop", "--api", "http://127.0.0.1:9", composition=served)
    assert (twice.exit_code, "there is no canary" in twice.output) == (1, True)


@pytest.mark.parametrize("share", ["0", "1", "1.5", "-0.1"])
async def test_a_share_that_leaves_nobody_is_refused(world: World, share: str) -> None:
    swapped(world)
    words = ("canary", "start", str(world.folder / "candidate"), f"--share={share}")
    refused = await run(*words, composition=world.folder / "composition")
    assert (refused.exit_code, "0.1 is every tenth conversation" in refused.output) == (2, True)


async def test_the_shipped_composition_is_not_replaced() -> None:
    shipped = Path("routers/compositions/tiny")
    refused = await run("canary", "start", str(shipped), composition=shipped)
    assert (refused.exit_code, "copy it" in refused.output) == (1, True)
