"""From live traffic back to routing: the commands read decisions, feedback and shadows over the API."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.offpolicy_accuracy import Traffic, table, truths
from eval.checks import RulesCheck
from eval.cli.evaluate import app
from eval.offpolicy import always, as_decided
from eval.suite import CheckablePrompt
from eval.traffic import TrafficError, fetch_traffic
from routers.outcome_table import read_outcomes
from tests.integration.app.world import CODE, TALK, Api, World

REQUESTS = 30


async def live_through(api: Api) -> None:
    """Requests that are explored, shadowed and rated: coder is right about code, talker about talk."""
    for number in range(REQUESTS):
        text, right = ((CODE, "coder"), (TALK, "talker"))[number % 2]
        decision = (await api.chat(text)).json()["routing"]["id"]
        found = await api.decision(decision)
        for _ in range(500):
            if len(found["shadows"]) == 2:
                break
            await asyncio.sleep(0.02)
            found = await api.decision(decision)
        rated = [(decision, found["expert"]), *((each["id"], each["expert"]) for each in found["shadows"])]
        for identity, expert in rated:
            body = {"decision_id": identity, "score": 1.0 if expert == right else 0.25}
            assert (await api.http.post("/v1/feedback", json=body)).status_code == 201


async def test_traffic_becomes_estimates_and_an_outcome_table(world: World, tmp_path: Path) -> None:
    async with world.serve(explore=0.5, shadow_rate=1, store_prompts=True) as api:
        await live_through(api)
        figures, out = tmp_path / "offpolicy.json", tmp_path / "lived"
        estimated = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["offpolicy", "--api", api.url, "--weight=0.1", "--json", str(figures)],
        )
        exported = await asyncio.to_thread(
            CliRunner().invoke, app, ["export", str(out), "--live", "--api", api.url]
        )
    assert estimated.exit_code == 0, estimated.output
    report = json.loads(figures.read_text())
    assert (report["logged"], report["usable"]) == (REQUESTS, REQUESTS)
    policies = {each["policy"]: each for each in report["policies"]}
    assert set(policies) == {
        "as it was decided",
        "active weight 0.1",
        "always backup",
        "always coder",
        "always talker",
    }
    assert policies["as it was decided"]["snips"]["value"] == 1.0
    assert 0.25 < report["naive"]["value"] < 1.0
    assert any("too little overlap" in warning for warning in policies["always backup"]["warnings"])

    assert exported.exit_code == 0, exported.output
    table = read_outcomes(out)
    assert dict(zip(table.prompts, table.categories, strict=True)) == {CODE: "coding", TALK: "smalltalk"}
    sizes = {card.name: card.params_b for card in table.experts}
    assert sizes == {"coder": 7.0, "talker": 1.0, "backup": 3.0}
    best = {
        prompt: table.expert_names[int(row.argmax())]
        for prompt, row in zip(table.prompts, table.scores, strict=True)
    }
    assert best == {CODE: "coder", TALK: "talker"}


async def test_a_log_without_exploration_says_what_to_turn_on(api: Api) -> None:
    await api.chat(CODE)
    done = await asyncio.to_thread(CliRunner().invoke, app, ["offpolicy", "--api", api.url])
    assert done.exit_code == 1
    assert "COTERIE_EXPLORE" in done.output
    done = await asyncio.to_thread(CliRunner().invoke, app, ["export", "x", "--live", "--api", api.url])
    assert done.exit_code == 1
    assert "not rated" in done.output


def heard_by_coder(number: int) -> CheckablePrompt:
    """A prompt that only `coder` answers right: the fakes say who they are."""
    check = RulesCheck.model_validate({"kind": "rules", "rules": [{"includes": ["coder"]}]})
    return CheckablePrompt(
        id=f"q-{number}", category="coding", prompt=f"{CODE} Number {number}.", check=check
    )


async def test_estimates_stand_beside_what_policies_did_score(world: World, tmp_path: Path) -> None:
    items = [heard_by_coder(number) for number in range(12)]
    async with world.serve(explore=0.5, shadow_rate=1, store_prompts=True) as api:
        await api.http.get("/readyz")  # it listens from its first turn in this loop on
        traffic = Traffic(f"{api.url}/v1", items, 4, cache=tmp_path / "answers.sqlite", wait_s=0.05)
        assert await traffic.ask() == 12
        assert await traffic.rate_shadows() == 24
        assert await traffic.ask() == 0  # what was asked is not asked again
        assert await traffic.rate_shadows() == 0
        log = await asyncio.to_thread(fetch_traffic, f"{api.url}/v1")
    known = truths(log, {"decided": as_decided, "coder": always("coder"), "backup": always("backup")})
    assert {name: (each.score, each.n) for name, each in known.items()} == {
        "decided": (1.0, 12),
        "coder": (1.0, 12),
        "backup": (0.0, 12),
    }
    text = table(log, [0.1])
    assert text.startswith("12 requests; ")
    assert "| always talker | 0.000 |" in text


async def test_a_service_that_keeps_no_prompts_says_what_to_turn_on(world: World) -> None:
    async with world.serve(explore=0.5) as api:
        await api.chat(CODE)
        with pytest.raises(TrafficError, match="COTERIE_STORE_PROMPTS"):
            await Traffic(f"{api.url}/v1", [heard_by_coder(0)], 1).ask()


async def test_a_service_without_shadows_says_what_to_turn_on(world: World, tmp_path: Path) -> None:
    async with world.serve(explore=0.5, store_prompts=True) as api:
        await api.http.get("/readyz")
        cache = tmp_path / "answers.sqlite"
        traffic = Traffic(f"{api.url}/v1", [heard_by_coder(0)], 1, cache=cache, wait_s=0.02, patience_s=0.1)
        assert await traffic.ask() == 1
        with pytest.raises(TrafficError, match="COTERIE_SHADOW_RATE"):
            await traffic.rate_shadows()


async def test_an_answer_whose_decision_is_gone_is_asked_again(world: World, tmp_path: Path) -> None:
    cache, port = tmp_path / "answers.sqlite", 0
    for name in ("first.db", "second.db"):
        database = f"sqlite:///{tmp_path / name}"
        async with world.serve(port=port, database_url=database, store_prompts=True) as api:
            await api.http.get("/readyz")
            assert await Traffic(f"{api.url}/v1", [heard_by_coder(0)], 1, cache=cache).ask() == 1
            port = int(api.url.rpartition(":")[2])
