"""What holds whatever a strategy does: limits, who may choose it, mistakes in it, many at once."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.errors import StartError
from app.settings import PROJECT
from app.startup import open_services
from experts.fake import Behaviour
from tests.integration.app.strategy_world import ask, calls_of, routing_of, says, serving, text_of
from tests.integration.app.world import CODE, TALK, Api, WordEncoder, World

OWN = "tests.integration.app.own_strategy:"


async def test_calls_are_bounded(api: Api) -> None:
    routing = routing_of(await ask(api, "panel", options={"max_calls": 2}))
    assert sum(fake.log.started for fake in api.fakes.values()) == 2
    assert routing["trace"]["totals"]["calls"] == 2
    assert ("talker", "answer", "refused") in calls_of(routing)
    assert any("talker was left out" in each for each in routing["trace"]["degraded"])


async def test_the_operators_limits_hold_and_a_client_can_only_lower_them(tmp_path: Path) -> None:
    async with serving(tmp_path, strategies=f"{OWN}greedy", strategy_max_calls=5) as api:
        routing = routing_of(await ask(api, "greedy", options={"max_calls": 50}))
        assert routing["trace"]["totals"]["calls"] == 5
        assert sum(fake.log.started for fake in api.fakes.values()) == 5
        assert routing["trace"]["limits"]["calls"] == 5


async def test_tokens_are_bounded_over_all_calls(tmp_path: Path) -> None:
    ways = {name: says("word " * 500) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel", options={"max_tokens": 400})
        assert response.json()["usage"]["total_tokens"] <= 400
        asked = [body["max_tokens"] for fake in api.fakes.values() for body in fake.log.bodies]
        assert sum(asked) < 400


async def test_too_few_tokens_for_a_strategy_leave_what_they_pay_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        response = await ask(api, "chain", options={"max_tokens": 60})
        assert response.status_code in {200, 503}
        assert sum(fake.log.started for fake in api.fakes.values()) <= 1


async def test_time_is_bounded(tmp_path: Path) -> None:
    ways = {"coder": says("quick"), "backup": Behaviour(delay_s=10), "talker": Behaviour(delay_s=10)}
    async with serving(tmp_path, ways) as api:
        started = asyncio.get_running_loop().time()
        response = await ask(api, "panel", options={"max_seconds": 0.5})
        assert asyncio.get_running_loop().time() - started < 3
        assert text_of(response) == "quick"
        assert routing_of(response)["trace"]["degraded"]
        for name in ("backup", "talker"):
            await api.fakes[name].log.until(lambda log: log.in_flight == 0)


async def test_without_any_answer_in_time_the_error_says_so(tmp_path: Path) -> None:
    ways = {name: Behaviour(delay_s=10) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        for stream in (False, True):
            response = await ask(api, "panel", stream=stream, options={"max_seconds": 0.3})
            assert response.status_code == 504
            assert response.json()["error"]["code"] == "strategy_limit"


@pytest.mark.parametrize("strategy", ["cascade", "panel", "chain", "self_select"])
async def test_limits_that_pay_for_no_call_are_what_the_error_names(tmp_path: Path, strategy: str) -> None:
    async with serving(tmp_path, expert_fields={"price": {"input": 1, "output": 1}}) as api:
        for options, kind in (({"max_cost": 0}, "cost"), ({"max_tokens": 20}, "tokens")):
            for stream in (False, True):
                response = await ask(api, strategy, stream=stream, options=options)
                error = response.json()["error"]
                assert (response.status_code, error["code"]) == (503, "strategy_limit")
                assert f"request's {kind} " in error["message"]
        assert sum(fake.log.started for fake in api.fakes.values()) == 0
        [*_, first] = (await api.http.get("/v1/decisions")).json()["data"]
        assert not any("failed" in each for each in first["trace"]["degraded"])


async def test_time_that_ends_in_the_last_resort_is_what_the_error_names(tmp_path: Path) -> None:
    slow = says("word " * 300, token_delay_s=0.02)
    ways = {"coder": slow, "backup": Behaviour(status=500), "talker": Behaviour(status=500)}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel", options={"max_seconds": 0.4, "members": ["backup", "talker"]})
        assert response.status_code == 504
        assert "ended while coder worked" in response.json()["error"]["message"]


async def test_a_stream_of_the_last_resort_that_time_cuts_says_so(tmp_path: Path) -> None:
    ways = {"coder": says("word " * 300, token_delay_s=0.02)}
    async with serving(tmp_path, ways, strategies=f"{OWN}hasty") as api:
        response = await ask(api, "hasty", stream=True, options={"max_seconds": 0.4})
        *_, last = [json.loads(each[6:]) for each in response.text.split("\n") if each.startswith("data: {")]
        assert last["error"]["code"] == "strategy_limit"


async def test_when_time_is_up_the_trace_names_nobody_as_asked_alone(tmp_path: Path) -> None:
    ways = {name: Behaviour(delay_s=10) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        await ask(api, "panel", options={"max_seconds": 0.3})
        [decision] = (await api.http.get("/v1/decisions")).json()["data"]
        assert not any("alone" in each for each in decision["trace"]["degraded"])
        assert [(step["prompt_tokens"] > 0, step["estimated"]) for step in decision["trace"]["steps"]] == [
            (True, True)
        ] * 3


async def test_what_a_call_that_timed_out_may_have_used_stays_spent(tmp_path: Path) -> None:
    times = {"connect_s": 2, "first_byte_s": 5, "idle_s": 5, "total_s": 0.5}
    ways = {"coder": says("word " * 300, token_delay_s=0.02), "backup": says("word " * 400)}
    async with serving(tmp_path, ways, expert_fields={"timeouts": times}) as api:
        # The draft may take a third, so two are left.
        options = {"max_tokens": 600, "drafter": "coder"}
        response = await ask(api, "chain", options=options)
        assert text_of(response).startswith("word")
        [asked] = api.fakes["coder"].log.bodies
        assert asked["max_tokens"] > 100
        assert api.fakes["backup"].log.last["max_tokens"] < 600 - asked["max_tokens"]
        draft, _ = routing_of(response)["trace"]["steps"]
        assert (draft["status"], draft["estimated"], draft["completion_tokens"]) == ("failed", True, 0)
        assert draft["prompt_tokens"] > 0


async def test_money_is_bounded_by_the_registrys_prices(tmp_path: Path) -> None:
    ways = {name: says("word " * 1000) for name in ("coder", "backup", "talker")}
    prices = {"price": {"input": 0, "output": 1000}}
    async with serving(tmp_path, ways, expert_fields=prices, strategy_max_cost=0.1) as api:
        routing = routing_of(await ask(api, "chain"))
        assert 0 < routing["trace"]["totals"]["cost"] <= 0.1
        assert routing["trace"]["limits"]["cost"] == 0.1


async def test_a_client_that_leaves_stops_every_expert(tmp_path: Path) -> None:
    ways = {name: says("word " * 500, token_delay_s=0.02) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        for strategy in ("panel", "self_select", "cascade"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await ask(api, strategy, stream=True, options={"max_seconds": 30})
        for fake in api.fakes.values():
            await fake.log.until(lambda log: log.in_flight == 0 and log.finished == 0)
        page = (await api.http.get("/v1/decisions")).json()["data"]
        assert {(each["status"], each["error_code"]) for each in page} == {
            ("cancelled", "client_closed_request")
        }


# Who chooses


def with_policy(folder: Path, **changes: Any) -> None:
    manifest = folder / "composition" / "composition.json"
    document = json.loads(manifest.read_text())
    document["policy"] |= changes
    manifest.write_text(json.dumps(document))


async def test_the_request_goes_before_the_composition_before_the_operator(
    tmp_path: Path, world: World
) -> None:
    with_policy(tmp_path, strategies={"coding": "chain"})
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  - {name: short, keywords: weather, strategy: self_select}\n"
        "  - {name: never, keywords: python, strategy: cascade}\n"
    )
    async with world.serve(strategy="panel", rules=rules) as api:
        said = {
            (r["strategy"], r["strategy_source"])
            for r in [
                routing_of(await api.chat(CODE)),
                routing_of(await api.chat(TALK)),
                routing_of(await api.chat("hello there")),
                routing_of(await ask(api, "single")),
            ]
        }
        assert said == {
            ("chain", "category"),
            ("self_select", "rule"),
            ("panel", "setting"),
            ("single", "request"),
        }
        route = await api.http.post(
            "/v1/route", json={"model": "coterie", "messages": [{"role": "user", "content": CODE}]}
        )
        assert (route.json()["strategy"], route.json()["strategy_source"]) == ("chain", "category")
        assert "coding" in route.json()["strategy_detail"]


async def test_the_operators_options_hold_where_the_request_says_nothing(tmp_path: Path) -> None:
    options = {"panel": {"size": 2, "max_calls": 2}}
    async with serving(tmp_path, strategy_options=options) as api:
        assert len(routing_of(await ask(api, "panel"))["trace"]["values"]["asked"]) == 2
        routing = routing_of(await ask(api, "panel", options={"size": 3}))
        assert len(routing["trace"]["values"]["asked"]) == 3
        assert routing["trace"]["totals"]["calls"] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "panl"}, "COTERIE_STRATEGY: "),
        ({"strategies": "no.such.module:x"}, "no.such.module:x: cannot be imported"),
        ({"strategies": f"{OWN}nothing"}, "has no 'nothing'"),
        ({"strategies": "app.strategies.policy_strategy:panel"}, "already"),
        ({"strategy_options": {"panel": {"top_q": 1}}}, "panel.top_q"),
        ({"strategy_options": {"panl": {}}}, "no strategy 'panl'"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_a_sentence(
    world: World, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(StartError, match=re.escape(said)):
        async with open_services(world.settings(**settings), encoder=WordEncoder()):
            pass


# A user's own


async def test_the_pages_own_strategy_answers_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "how-to" / "write-a-strategy.md").read_text(encoding="utf-8")
    (tmp_path / "my_strategy.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    ways = {"coder": says("a rather long answer"), "backup": says("short"), "talker": says("s")}
    async with serving(tmp_path, ways, strategies="my_strategy:strategy") as api:
        for stream in (False, True):
            response = await ask(api, "shorter", stream=stream)
            assert text_of(response) == "short"
            routing = routing_of(response)
            assert routing["trace"]["notes"] == ["backup was briefest of 2."]
            assert ["ask", "choose"] in routing["trace"]["graph"]["path"]
        none = routing_of(await ask(api, "shorter", options={"least_words": 100}))
        assert "no end" in none["trace"]["degraded"][0]


async def test_a_mistake_in_a_strategy_costs_no_answer(tmp_path: Path) -> None:
    ways = {"coder": says("good"), "backup": says("fair")}
    async with serving(tmp_path, ways, strategies=f"{OWN}broken") as api:
        response = await ask(api, "broken")
        assert text_of(response) == "good"
        degraded = routing_of(response)["trace"]["degraded"]
        assert "KeyError" in degraded[0]
        assert "a mistake" not in json.dumps(routing_of(response))


async def test_a_mistake_after_the_answer_does_not_take_it_back(tmp_path: Path) -> None:
    async with serving(tmp_path, {"coder": says("good")}, strategies=f"{OWN}late") as api:
        for stream in (False, True):
            response = await ask(api, "late", stream=stream)
            assert text_of(response) == "good"
            degraded = routing_of(response)["trace"]["degraded"]
            assert len(degraded) == 2 and "KeyError" in degraded[0]
            assert '"error"' not in response.text


# Many at once


async def test_200_panels_at_once_all_answer(tmp_path: Path) -> None:
    ways = {name: Behaviour(delay_s=0.01) for name in ("coder", "backup", "talker")}
    fields = {"max_in_flight": 256, "max_queued": 4096, "timeouts": {"connect_s": 60, "first_byte_s": 60}}
    async with serving(tmp_path, ways, expert_fields=fields) as api:
        api.http.timeout = 120
        responses = await asyncio.gather(*(ask(api, "panel", stream=n % 2 == 0) for n in range(200)))
        assert [response.status_code for response in responses] == [200] * 200
        assert all(text_of(response).endswith(CODE) for response in responses)
        assert len({routing_of(response)["id"] for response in responses}) == 200
        assert all(fake.log.in_flight == 0 for fake in api.fakes.values())
