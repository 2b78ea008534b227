"""What operators see and set: probes, metrics, keys, catalogue, refusal to start."""

import io
from pathlib import Path
from typing import Any

import pytest

from app.errors import StartError
from app.startup import open_services
from tests.integration.app.world import CODE, EXPERTS, Api, WordEncoder, World


async def test_health_is_up_and_readiness_says_why_not(world: World) -> None:
    async with world.serve() as api:
        assert (await api.http.get("/healthz")).json() == {"status": "ok"}
        ready = await api.http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["experts"] == dict.fromkeys(EXPERTS, "up")
    world.endpoints |= dict.fromkeys(EXPERTS, "http://127.0.0.1:9/v1")
    async with world.serve() as api:
        waiting = await api.http.get("/readyz")
        assert waiting.status_code == 503
        assert waiting.json() == {
            "status": "not ready",
            "database": "up",
            "experts": dict.fromkeys(EXPERTS, "down"),
        }


async def test_metrics_count_answers_by_expert_and_hold_no_ids(api: Api) -> None:
    decision = (await api.chat(CODE)).json()["routing"]["id"]
    await api.decision(decision)
    text = (await api.http.get("/metrics")).text
    assert 'coterie_answers_total{category="coding",expert="coder",reason="matched",status="ok"} 1.0' in text
    assert 'route="/v1/decisions/{decision_id}"' in text
    assert decision not in text
    assert "coterie_rows_waiting 0.0" in text
    assert "coterie_answers_in_flight 0.0" in text
    assert 'coterie_tokens_total{expert="coder",kind="completion"}' in text


async def test_models_are_the_router_the_categories_and_the_experts(api: Api) -> None:
    async with api.openai() as client:
        names = [model.id async for model in client.models.list()]
        routed = ["coterie", "coterie/coding", "coterie/smalltalk"]
        assert names == [*routed, "coder", "talker", "backup", "words"]
        assert (await client.models.retrieve("coterie/coding")).id == "coterie/coding"


async def test_experts_are_listed_with_their_health(api: Api) -> None:
    data = (await api.http.get("/v1/experts")).json()["data"]
    assert [expert["name"] for expert in data] == list(EXPERTS)
    assert data[0]["capabilities"] == ["json_schema", "tools"]
    assert {expert["health"]["state"] for expert in data} == {"up"}


async def test_the_composition_explains_itself(api: Api) -> None:
    document = (await api.http.get("/v1/composition")).json()
    assert document["categories"] == ["coding", "smalltalk"]
    assert document["map"] == {"coding": "coder", "smalltalk": "talker"}
    assert document["utilities"]["coding"] == {"coder": 0.8, "talker": 0.3, "backup": 0.5}
    assert document["policy"]["generalist"] == "backup"
    assert document["manifest"]["files"]


async def test_the_openapi_document_is_whole(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    assert "/v1/chat/completions" in document["paths"]
    references = set(_references(document))
    assert references
    assert all(
        name.removeprefix("#/components/schemas/") in document["components"]["schemas"] for name in references
    )


async def test_keys_are_needed_once_they_are_set(
    world: World, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.serve(api_keys="team:s3cret,other:t0p") as api:
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            response = await api.http.get("/v1/models", headers=header)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert (await api.http.get("/healthz")).status_code == 200
        api.http.headers["authorization"] = "Bearer s3cret"
        routing = (await api.chat(CODE)).json()["routing"]
        decision = await api.decision(routing["id"])
        assert decision["api_key"] == "team"
        assert "s3cret" not in str(api.fakes["coder"].log.headers)
    said = capsys.readouterr()
    assert "/v1/models" in logged.getvalue()
    assert "s3cret" not in said.out + said.err + logged.getvalue()


async def test_conversations_of_two_keys_do_not_meet(world: World) -> None:
    async with world.serve(api_keys="a:k1\nb:k2") as api:
        api.http.headers["authorization"] = "Bearer k1"
        await api.chat(CODE, routing={"conversation": "c"})
        kept = (await api.chat("zzz", routing={"conversation": "c"})).json()["routing"]
        assert kept["reason"] == "sticky"
        api.http.headers["authorization"] = "Bearer k2"
        other = (await api.chat("zzz", routing={"conversation": "c"})).json()["routing"]
        assert other["reason"] == "uncertain"


async def test_the_service_does_not_start_on_what_is_not_there(world: World, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"experts": tmp_path / "none.yaml"}, "none.yaml"),
        ({"composition": tmp_path / "none"}, "no composition in"),
        ({"database_url": "postgresql://u:s3cret@127.0.0.1:9/d"}, "does not answer"),
    ]
    for changes, message in cases:
        settings = world.settings().model_copy(update=_secret(changes))
        with pytest.raises(StartError, match=message) as raised:
            async with open_services(settings, encoder=WordEncoder()):
                pass
        assert "s3cret" not in str(raised.value)


async def test_a_registry_without_an_expert_of_the_composition_is_refused(world: World) -> None:
    settings = world.settings()
    text = settings.experts.read_text()
    settings.experts.write_text(text.replace("name: talker", "name: speaker"))
    with pytest.raises(StartError, match="talker"):
        async with open_services(settings, encoder=WordEncoder()):
            pass


def _secret(changes: dict[str, Any]) -> dict[str, Any]:
    from pydantic import SecretStr

    return {name: SecretStr(v) if name == "database_url" else v for name, v in changes.items()}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in _references(inner)]
    return []
