"""HTTP as clients use it: compressed bodies, addresses misspelt, HEAD, pages of other origins."""

import asyncio
import gzip
import io
import json
import zlib

import pytest
from openai.types import Model
from pydantic import ConfigDict

from app.strategies.strategy_registry import OWN
from tests.integration.app.world import CODE, EXPERTS, TALK, Api, World, events_of

BODY = {"model": "coterie", "messages": [{"role": "user", "content": TALK}]}
RAW = json.dumps(BODY).encode()
PAGE = "https://chat.example.org"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (gzip.compress(RAW), {"content-encoding": "gzip"}, 200, None),
        (zlib.compress(RAW), {"content-encoding": "deflate"}, 200, None),
        (RAW, {"content-encoding": "br"}, 415, "unsupported_content_encoding"),
        (RAW, {"content-encoding": "gzip"}, 400, "invalid_content_encoding"),
        (gzip.compress(b" " * 30_000_000), {"content-encoding": "gzip"}, 413, "request_too_large"),
        (b"\xef\xbb\xbf" + RAW, {}, 200, None),
        (RAW.decode().encode("utf-16"), {"content-type": "application/json; charset=utf-16"}, 200, None),
        (RAW, {"content-type": "text/plain"}, 200, None),
    ],
)
async def test_bodies_come_in_many_forms(
    api: Api, body: bytes, headers: dict[str, str], status: int, code: str | None
) -> None:
    response = await api.http.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.json().get("error", {}).get("code") == code


async def test_doubled_and_trailing_slashes_are_passed_over(api: Api) -> None:
    for path in ("/v1//chat/completions", "/v1/chat/completions/", "//v1/chat/completions//"):
        assert (await api.http.post(f"{api.url}{path}", json=BODY)).status_code == 200, path
    for path in ("/v1/models/", "//v1/models", "/v1/models//coterie/coding/", "/healthz/"):
        assert (await api.http.get(f"{api.url}{path}")).status_code == 200, path


async def test_a_whole_url_in_the_request_line_is_its_path(api: Api) -> None:
    """As clients ask proxies; servers must take it, too (RFC 9112, 3.2.2)."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {api.url}/v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_wrong_base_url_is_told_the_right_address(api: Api) -> None:
    for path in ("/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/chat/completions"):
        response = await api.http.post(path, json=BODY)
        assert response.status_code == 404
        assert "/v1/chat/completions?" in response.json()["error"]["message"], path
    assert "/v1" not in (await api.http.get("/nothing")).json()["error"]["message"]


async def test_head_is_answered_like_get_without_the_body(api: Api) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/coterie"):
        response = await api.http.head(path)
        assert (response.status_code, response.content) == (200, b""), path
        assert int(response.headers["content-length"]) > 0
    assert (await api.http.head("/v1/models/nobody")).status_code == 404
    assert (await api.http.head("/v1/chat/completions")).status_code == 405
    metrics = (await api.http.get("/metrics")).text
    assert 'method="HEAD",route="/healthz",status="200"' in metrics


async def test_browsers_keep_other_pages_out_unless_their_origin_is_set(api: Api, world: World) -> None:
    preflight = {"origin": PAGE, "access-control-request-method": "POST"}
    response = await api.http.options("/v1/chat/completions", headers=preflight)
    assert "access-control-allow-origin" not in response.headers
    async with world.serve(cors_origins=f"{PAGE}, http://localhost:3000", api_keys="a:key") as other:
        wanted = {
            "access-control-request-headers": "authorization, content-type, x-stainless-os",
            "access-control-request-private-network": "true",
        }
        response = await other.http.options("/v1/chat/completions", headers=preflight | wanted)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "x-stainless-os" in response.headers["access-control-allow-headers"]
        assert response.headers["access-control-allow-private-network"] == "true"
        asked = await other.http.post(
            "/v1/chat/completions", json=BODY, headers={"origin": PAGE, "authorization": "Bearer key"}
        )
        assert asked.headers["access-control-allow-origin"] == PAGE
        exposed = asked.headers["access-control-expose-headers"]
        assert "x-coterie-decision" in exposed
        assert "x-request-id" in exposed
        # An error is readable too; a page of another origin is told nothing.
        refused = await other.http.get("/v1/models", headers={"origin": PAGE})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
        for origin in ("https://evil.example.org", "https://chat.example.org.evil.example"):
            stranger = await other.http.options("/v1/models", headers=preflight | {"origin": origin})
            assert "access-control-allow-origin" not in stranger.headers


async def test_every_origin_without_a_key_is_warned_of(world: World, logged: io.StringIO) -> None:
    async with world.serve(cors_origins="*") as api:
        response = await api.http.get("/healthz", headers={"origin": PAGE})
        assert response.headers["access-control-allow-origin"] == "*"
    assert "open_to_every_web_page" in logged.getvalue()


class StrictModel(Model):
    """OpenAI's model, with what we add to it and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    context_length: int
    max_model_len: int
    capabilities: list[str]


async def test_models_say_their_context_and_what_they_can_do(api: Api) -> None:
    document = (await api.http.get("/v1/models")).json()
    models = {each["id"]: StrictModel.model_validate(each) for each in document["data"]}
    for name, facts in EXPERTS.items():
        assert models[name].context_length == models[name].max_model_len == facts["context_length"]
        assert models[name].capabilities == sorted(facts.get("capabilities", []))
    for name in ("coterie", "coterie/coding"):
        assert models[name].context_length == 4000
        assert models[name].capabilities == ["json_schema", "tools"]
    assert (await api.http.get("/v1/models")).json() == document


async def test_the_model_of_every_answer_is_a_name_to_ask_for(world: World) -> None:
    """Not what the expert's server calls it."""
    async with world.serve(expert_fields={"model": "org/Some-Model"}) as api:
        for strategy in ("single", *OWN):
            options = {"routing": {"strategy": strategy}}
            whole = (await api.chat(CODE, **options)).json()
            first, *rest = events_of((await api.chat(CODE, stream=True, **options)).text)[:-1]
            names = {each["model"] for each in (whole, first, *rest)}
            assert names <= {*EXPERTS}, strategy
            for name in names:
                assert (await api.http.get(f"/v1/models/{name}")).json()["id"] == name
                assert (await api.chat(CODE, model=name)).status_code == 200
