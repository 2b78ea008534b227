"""The closed loop by its commands: traffic, ratings, a table, a refit, its judgement, a canary, and back."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from routers.composition import load_composition, save_composition
from tests.integration.app.test_canary_command import run
from tests.integration.app.test_shadow import shadows_of
from tests.integration.app.world import Api, WordEncoder, World

CODE = ("Write a python function", "Find the bug in this code", "Explain the python code of a function")
TALK = ("hello there, lovely weather", "hi and thanks", "thanks for the weather report")


def prompts(numbers: Iterable[int]) -> dict[str, str]:
    """Prompts and the expert that is right about each: the fake experts say their names."""
    return {
        f"{text}, number {number}.": expert
        for expert, texts in (("coder", CODE), ("talker", TALK))
        for text in texts
        for number in numbers
    }


def write_suite(path: Path, prompts: dict[str, str]) -> str:
    rows = [
        {
            "id": str(number),
            "category": "coding" if expert == "coder" else "smalltalk",
            "prompt": prompt,
            "check": {"kind": "words", "any": [expert]},
        }
        for number, (prompt, expert) in enumerate(prompts.items())
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


async def ask(api: Api, prompts: Iterable[str], shadows: int) -> None:
    async def one(prompt: str) -> None:
        routing = (await api.chat(prompt)).json()["routing"]
        if (
            shadows > 1 or routing["reason"] != "explored"
        ):  # then the other's choice may be the one that answers
            await shadows_of(api, routing["id"], shadows)

    await asyncio.gather(*map(one, prompts))


async def test_what_traffic_shows_is_fitted_compared_tried_promoted_and_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routers.encoder.load_encoder", lambda *_, **__: WordEncoder())
    served, folder = world.folder / "composition", world.folder
    right = load_composition(served)
    save_composition(replace(right, utilities=right.utilities[::-1]), served)  # coder talks, talker codes
    first, later = prompts(range(6)), prompts(range(6, 10))
    suite = write_suite(folder / "suite.jsonl", first | later)
    async with world.serve(shadow_rate=1, explore=0.3, store_prompts=True, shadow_concurrency=8) as api:
        begun = load_composition(served).digest

        async def done(*words: str, composition: Path | None = None) -> str:
            ended = await run(*words, composition=composition, api=api)
            assert ended.exit_code == 0, ended.output
            return ended.output

        async def offline(*words: str) -> str:
            ended = await run(*words)
            assert ended.exit_code == 0, ended.output
            return ended.output

        await ask(api, first, shadows=2)
        assert "108 of 108 unrated answers rated" in await done("eval", "feedback", "--suite", suite)
        lived, refitted = str(folder / "lived"), folder / "refitted"
        await done("eval", "export", lived, "--live")
        assert "36 prompts" in await offline("outcomes", "describe", lived)
        options = f"--cache {folder}/cache --classifier centroid --no-seeds --no-report"
        await offline("fit", lived, "--out", str(refitted), *options.split())
        assert dict(load_composition(refitted).map) == {"coding": "coder", "smalltalk": "talker"}
        estimated = await done("eval", "offpolicy", "--composition", str(refitted))
        assert "always talker" in estimated

        await done("canary", "start", str(refitted), "--share", "0.5", composition=served)
        await ask(api, later, shadows=1)
        await done("eval", "feedback", "--suite", suite)
        judged = await done("canary", "status", "--json", "--least", "5", composition=served)
        report = json.loads(judged)
        assert (report["verdict"], report["same"]) == ("promote", 0)
        await done("canary", "promote", "--least", "5", composition=served)
        promoted = (await api.chat(CODE[0])).json()["routing"]
        assert (promoted["explored_from"] or promoted["expert"]) == "coder"
        assert promoted["expected_compute"] > 0  # by the tokens of the traffic
        await done("canary", "rollback", composition=served)
        assert (await api.http.get("/v1/composition")).json()["digest"] == begun
