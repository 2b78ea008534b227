"""Strategies through the service: several fake experts, one answer, and a trace of how it came about."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experts.fake import Behaviour, Chooser
from tests.integration.app.strategy_world import (
    ask,
    calls_of,
    routing_of,
    says,
    serving,
    text_of,
)
from tests.integration.app.world import CODE, TALK, Api, events_of

STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

CHOICE = "Which is a prime?\nA) 4\nB) 7\nC) 9\nAnswer with the letter."


async def test_what_a_running_strategy_used_is_not_known_yet(tmp_path: Path) -> None:
    async with serving(tmp_path, {"coder": says("draft"), "backup": says("slow", delay_s=30)}) as api:
        asking = asyncio.create_task(ask(api, "chain"))
        await api.fakes["backup"].log.until(lambda log: log.started == 1)
        running = await api.decision(next(iter(api.services.lifecycle.in_flight)))
        assert (running["status"], running["usage"]) == ("running", None)
        assert [step["status"] for step in running["trace"]["steps"]] == ["ok", "running"]
        asking.cancel()


# Policies that were not fitted


@STREAMS
async def test_a_cascade_keeps_a_confident_cheap_answer(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, {"backup": says("cheap", confidence=0.9)}) as api:
        response = await ask(api, "cascade", stream=stream)
        assert text_of(response) == "cheap"
        routing = routing_of(response)
        assert (routing["expert"], routing["strategy"], routing["strategy_source"]) == (
            "backup",
            "cascade",
            "request",
        )
        assert calls_of(routing) == [("backup", "answer", "ok")]
        assert routing["trace"]["steps"][0]["confidence"] == pytest.approx(0.9)
        assert routing["trace"]["values"]["probability"] == pytest.approx(0.9)
        assert api.fakes["coder"].log.started == 0


@STREAMS
async def test_a_cascade_asks_the_strong_expert_when_the_cheap_one_is_unsure(
    tmp_path: Path, stream: bool
) -> None:
    ways = {"backup": says("cheap", confidence=0.3), "coder": says("strong")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "cascade", stream=stream)
        assert text_of(response) == "strong"
        routing = routing_of(response)
        assert routing["expert"] == "coder"
        assert [step["expert"] for step in routing["trace"]["steps"]] == ["backup", "coder"]
        assert routing["trace"]["graph"]["path"][1:4] == [
            ["decide", "ask"],
            ["ask", "decide"],
            ["decide", "show"],
        ]
        assert response.headers["x-coterie-expert"] == "coder"


async def test_what_is_not_fitted_says_so(api: Api) -> None:
    for strategy in ("cascade", "panel", "self_select", "vote"):
        values = routing_of(await ask(api, strategy))["trace"]["values"]
        assert (values["policy"], values["fitted"]) == (strategy, False)


async def test_what_has_no_form_without_a_fit_is_answered_by_one_expert(api: Api) -> None:
    for strategy in ("mixed", "stopping"):
        routing = routing_of(await ask(api, strategy))
        assert routing["strategy"] == "single"
        assert f"no fitted {strategy}" in routing["strategy_detail"]


@STREAMS
async def test_a_failed_strong_expert_leaves_the_cheap_answer(tmp_path: Path, stream: bool) -> None:
    ways = {"backup": says("cheap", confidence=0.2), "coder": Behaviour(status=500)}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "cascade", stream=stream)
        assert text_of(response) == "cheap"
        assert routing_of(response)["trace"]["degraded"]


async def test_a_reply_that_settles_it_is_shown_as_it_comes(tmp_path: Path) -> None:
    ways = {
        "backup": says("cheap", confidence=0.2),
        "coder": says("word " * 60 + "end", token_delay_s=0.01),
    }
    async with serving(tmp_path, ways) as api:
        body = {
            "model": "coterie",
            "messages": [{"role": "user", "content": CODE}],
            "stream": True,
            "routing": {"strategy": "cascade"},
        }
        async with api.http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            assert "routing" in await anext(lines)
            assert api.fakes["coder"].log.in_flight == 1
            rest = [line async for line in lines]
        assert any("end" in line for line in rest)


async def test_what_a_user_has_seen_is_never_taken_back(tmp_path: Path) -> None:
    ways = {
        "backup": says("cheap", confidence=0.2),
        "coder": says("one two three four five six", die_after=5),
    }
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "cascade", stream=True)
        events = events_of(response.text)
        assert "one two" in text_of(response)
        assert events[-1]["error"]["code"] == "expert_bad_reply"
        assert "[DONE]" not in events
        assert api.fakes["talker"].log.started == 0


async def test_a_cascade_without_log_probabilities_asks_the_strong_expert(tmp_path: Path) -> None:
    def mute(body: Mapping[str, Any]) -> Behaviour:
        # A server that has no log-probabilities ignores the wish for them.
        assert isinstance(body, dict)
        body.pop("logprobs", None)
        return says("cheap")

    async with serving(tmp_path, {"backup": mute, "coder": says("strong")}) as api:
        assert text_of(await ask(api, "cascade")) == "strong"


async def test_an_expert_that_nobody_knows_is_said_so(api: Api) -> None:
    routing = routing_of(await ask(api, "cascade", options={"weak": "nobody"}))
    assert routing["strategy"] == "single"
    assert "nobody" in routing["strategy_detail"]


@STREAMS
async def test_a_panel_votes_on_a_closed_question(tmp_path: Path, stream: bool) -> None:
    ways = {"coder": says("The answer is C."), "backup": says("B"), "talker": says("I think B) 7")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel", CHOICE, stream=stream, routing={"category": "smalltalk"})
        routing = routing_of(response)
        assert text_of(response) in {"B", "I think B) 7"}
        values = routing["trace"]["values"]
        assert (values["agree"], values["compared_by"]) == (2, "final_answer")
        assert {expert for expert, _, _ in calls_of(routing)} == {"coder", "backup", "talker"}
        assert "2 of 3 replies" in routing["trace"]["notes"][0]


async def test_open_answers_are_compared_as_texts_where_no_likeness_is_fitted(tmp_path: Path) -> None:
    ways = {"coder": says("first try"), "backup": says("the same"), "talker": says("The  same")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel")
        assert text_of(response) == "the same"
        assert routing_of(response)["trace"]["values"]["compared_by"] == "text"


async def test_a_failed_member_is_visible_and_the_others_answer(tmp_path: Path) -> None:
    ways = {"coder": Behaviour(status=500), "backup": says("still here"), "talker": says("still here")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel")
        routing = routing_of(response)
        assert text_of(response) == "still here"
        assert ("coder", "answer", "failed") in calls_of(routing)
        assert any("coder failed" in sentence for sentence in routing["trace"]["degraded"])


async def test_when_every_member_fails_the_error_is_theirs(tmp_path: Path) -> None:
    ways = {name: Behaviour(status=500) for name in ("coder", "backup", "talker")}
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "panel")
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "expert_unavailable"
        stored = await api.decision(response.headers["x-coterie-decision"])
        assert (stored["status"], stored["strategy"]) == ("error", "panel")
        assert {step["status"] for step in stored["trace"]["steps"]} == {"failed"}


@STREAMS
async def test_the_surest_expert_of_those_side_by_side_answers(tmp_path: Path, stream: bool) -> None:
    ways = {
        "coder": says("unsure", confidence=0.4),
        "backup": says("sure", confidence=0.9),
        "talker": says("guessing", confidence=0.2),
    }
    async with serving(tmp_path, ways) as api:
        response = await ask(api, "self_select", stream=stream)
        routing = routing_of(response)
        assert (text_of(response), routing["expert"]) == ("sure", "backup")
        assert len(calls_of(routing)) == 3
        biased = await ask(api, "self_select", stream=stream, options={"bias": {"talker": 3.0}})
        assert text_of(biased) == "guessing"


# Chain


def critic(review: str) -> Chooser:
    """An expert that reviews drafts with `review`."""

    def choose(body: Mapping[str, Any]) -> Behaviour:
        return says(review if "<draft>" in str(body["messages"][-1]["content"]) else "not asked for this")

    return choose


def drafter(body: Mapping[str, Any]) -> Behaviour:
    return says("better" if "<review>" in str(body["messages"][0]["content"]) else "draft")


@STREAMS
async def test_a_chain_stops_when_the_critique_finds_nothing(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, {"coder": drafter, "backup": critic("None.")}) as api:
        response = await ask(api, "chain", stream=stream, options={"rounds": 3})
        assert text_of(response) == "draft"
        assert [purpose for _, purpose, _ in calls_of(routing_of(response))] == ["draft", "critique"]


@STREAMS
async def test_a_chain_revises_what_the_critique_finds(tmp_path: Path, stream: bool) -> None:
    async with serving(tmp_path, {"coder": drafter, "backup": critic("It misses the edge case.")}) as api:
        response = await ask(api, "chain", stream=stream)
        assert text_of(response) == "better"
        purposes = [purpose for _, purpose, _ in calls_of(routing_of(response))]
        assert purposes == ["draft", "critique", "revise"]
        assert "It misses the edge case." in str(api.fakes["coder"].log.last["messages"][0]["content"])


async def test_a_draft_stands_when_the_critic_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path, {"coder": says("draft"), "backup": Behaviour(status=500)}) as api:
        response = await ask(api, "chain", options={"critic": "backup"})
        assert text_of(response) == "draft"
        assert any("draft stands" in each for each in routing_of(response)["trace"]["degraded"])


# What every strategy keeps to


async def test_an_expert_that_is_named_twice_begins_once(api: Api) -> None:
    options = {"experts": ["talker", "talker", "backup"]}
    routing = routing_of(await ask(api, "self_select", options=options))
    assert sorted(routing["trace"]["values"]["asked"]) == ["backup", "talker"]
    assert api.fakes["talker"].log.started == 1


@pytest.mark.parametrize("strategy", ["cascade", "panel", "chain", "self_select"])
async def test_the_openai_client_reads_the_stream_of_every_strategy(api: Api, strategy: str) -> None:
    async with api.openai() as client:
        stream = await client.chat.completions.create(
            model="coterie",
            messages=[{"role": "user", "content": CODE}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"routing": {"strategy": strategy}},
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.endswith(f"heard: {CODE}")
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
    last = chunks[-1]
    assert last.usage is not None
    (ending,) = [c for c in chunks for choice in c.choices if choice.finish_reason]
    assert ending.model_extra is not None
    steps = ending.model_extra["routing"]["trace"]["steps"]
    assert last.usage.completion_tokens == sum(step["completion_tokens"] for step in steps)
    assert all(choice.logprobs is None for chunk in chunks for choice in chunk.choices)


async def test_usage_sums_over_the_calls(api: Api) -> None:
    response = await ask(api, "panel")
    usage = response.json()["usage"]
    assert usage["completion_tokens"] == sum(call["completion_tokens"] for call in usage["calls"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert len(usage["calls"]) == sum(fake.log.started for fake in api.fakes.values())
    metrics = (await api.http.get("/metrics")).text
    assert 'coterie_strategy_calls_total{expert="talker",status="ok",strategy="panel"} 1.0' in metrics


async def test_the_clients_own_fields_reach_the_drafter_and_not_the_critic(api: Api) -> None:
    await ask(api, "chain", temperature=0.3, my_field=1, max_tokens=50)
    bodies = [body for fake in api.fakes.values() for body in fake.log.bodies]
    ours = [body for body in bodies if body.get("my_field")]
    critics = [body for body in bodies if not body.get("my_field")]
    assert len(ours) == 2
    assert {body["temperature"] for body in ours} == {0.3}
    assert all(body["max_tokens"] <= 50 for body in ours)
    assert [body["temperature"] for body in critics] == [0]
    assert not any("routing" in body for body in bodies)


TOOL = {"type": "function", "function": {"name": "forecast", "parameters": {"type": "object"}}}


ONE_EXPERT: list[tuple[dict[str, Any], str]] = [
    ({"tools": [TOOL]}, "tools"),
    ({"n": 2}, "one choice"),
    ({"model": "coder"}, "named coder"),
    ({"options": {"max_calls": 1}}, "single call"),
    ({"routing": {"exclude": ["talker", "backup"]}}, "1 can answer"),
    ({"options": {"members": ["talker", "coder"]}, "routing": {"exclude": ["talker"]}}, "talker cannot"),
]
"""Fields that a panel cannot do, and a part of what the decision says about it."""


async def test_what_a_strategy_cannot_do_one_expert_does_visibly(api: Api) -> None:
    for fields, why in ONE_EXPERT:
        response = await ask(api, "panel", **fields)
        routing = routing_of(response)
        assert (routing["strategy"], routing["trace"]) == ("single", None), fields
        assert "panel" in routing["strategy_detail"]
        assert why in routing["strategy_detail"]
        assert response.headers["x-coterie-strategy"] == "single"


async def test_experts_known_to_be_down_are_left_out_visibly(tmp_path: Path) -> None:
    async with serving(tmp_path, {"coder": says("x"), "backup": says("y"), "talker": says("z")}) as api:
        registry = api.services.registry
        assert registry.get("talker")
        await ask(api, "panel")
        from experts.errors import ExpertUnavailable

        api.services.health.report_failure("talker", ExpertUnavailable("talker", "gone"))
        routing = routing_of(await ask(api, "panel"))
        assert "talker" not in routing["trace"]["values"]["asked"]
        assert any(each.startswith("talker ") for each in routing["trace"]["degraded"])


async def test_an_unknown_strategy_is_refused_with_the_names_there_are(api: Api) -> None:
    for path in ("/v1/chat/completions", "/v1/route"):
        body = {
            "model": "coterie",
            "messages": [{"role": "user", "content": TALK}],
            "routing": {"strategy": "panl"},
        }
        error = (await api.http.post(path, json=body)).json()["error"]
        assert error["param"] == "routing.strategy"
        for name in ("single", "cascade", "panel", "chain", "self_select"):
            assert name in error["message"]


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "panel", "options": {"top_q": 1}}, "routing.options.top_q"),
    ({"strategy": "panel", "options": {"size": 1}}, "routing.options.size"),
    ({"strategy": "cascade", "options": {"threshold": "high"}}, "routing.options.threshold"),
    ({"strategy": "single", "options": {"size": 2}}, "routing.options"),
    ({"strategy": "stopping", "options": {"size": 2}}, "routing.options.size"),
    ({"options": {"size": 2}}, "routing"),
]


async def test_wrong_options_are_named(api: Api) -> None:
    for routing, param in WRONG_OPTIONS:
        for path in ("/v1/chat/completions", "/v1/route"):
            body = {"model": "coterie", "messages": [{"role": "user", "content": TALK}], "routing": routing}
            response = await api.http.post(path, json=body)
            assert (response.status_code, response.json()["error"]["param"]) == (400, param), routing


async def test_a_decision_keeps_its_trace_and_draws_it(api: Api) -> None:
    response = await ask(api, "chain")
    decision_id = response.headers["x-coterie-decision"]
    stored = await api.decision(decision_id)
    assert stored["trace"]["steps"] == response.json()["routing"]["trace"]["steps"]
    assert stored["trace"]["totals"]["calls"] == 3
    assert stored["usage"]["completion_tokens"] == response.json()["usage"]["completion_tokens"]
    picture = await api.http.get(f"/v1/decisions/{decision_id}/graph")
    assert picture.text.startswith("digraph")
    assert "critique" in picture.text
    gone = await api.http.get(f"/v1/decisions/{decision_id}/graph", params={"form": "svg"})
    assert (gone.status_code, gone.json()["error"]["param"]) == (400, "form")
    text = await api.http.get(f"/v1/decisions/{decision_id}/graph", params={"form": "mermaid"})
    assert text.text.startswith("flowchart LR")
    single = await api.chat(CODE)
    none = await api.http.get(f"/v1/decisions/{single.headers['x-coterie-decision']}/graph")
    assert (none.status_code, none.json()["error"]["code"]) == (404, "no_graph")
    missing = await api.http.get("/v1/decisions/dec_nothing/graph")
    assert missing.json()["error"]["code"] == "decision_not_found"


async def test_one_expert_pays_nothing_and_says_so(api: Api) -> None:
    routing = (await api.chat(CODE)).json()["routing"]
    assert (routing["strategy"], routing["strategy_source"], routing["trace"]) == ("single", "default", None)
    asked = (await ask(api, "single")).json()["routing"]
    assert (asked["strategy"], asked["strategy_source"]) == ("single", "request")
