"""/v1/embeddings: by the router's encoder, and by experts that make embeddings."""

import asyncio
import base64
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from openai.types import CreateEmbeddingResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.serving.encoder_embeddings import TEXT_TOKENS
from app.serving.routing import Routers
from experts.fake import serve_in_thread
from routers.request import Matrix
from tests.integration.app.world import CODE, DIMENSION, TALK, Api, WordEncoder, World

VECTOR = [0.5, -0.5, 0.25]


async def embed(api: Api, given: Any, **fields: Any) -> httpx2.Response:
    return await api.http.post("/v1/embeddings", json={"model": "words", "input": given} | fields)


def strict(document: dict[str, Any]) -> CreateEmbeddingResponse:
    """OpenAI's model, with nothing but `routing` beside it."""
    ours = {name: value for name, value in document.items() if name != "routing"}
    found = CreateEmbeddingResponse.model_validate(ours, strict=True)
    assert found.model_extra == {}
    assert all(each.model_extra == {} for each in found.data)
    return found


async def test_the_encoder_is_told_apart_from_models_that_answer(api: Api) -> None:
    response = await api.chat(model=api.services.embeddings.encoder.name)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "capability_unavailable")
    assert "/v1/embeddings" in error["message"]


async def test_the_routers_encoder_embeds_by_its_name(api: Api) -> None:
    response = await embed(api, [CODE, TALK])
    found = strict(response.json())
    assert (found.model, [each.index for each in found.data]) == ("words", [0, 1])
    assert np.allclose([each.embedding for each in found.data], WordEncoder().encode([CODE, TALK]))
    assert found.usage.prompt_tokens == found.usage.total_tokens == len(CODE.split()) + len(TALK.split())
    assert (response.json()["routing"]["expert"], response.headers["x-coterie-reason"]) == ("words", "pinned")
    assert (await api.http.get("/v1/decisions")).json()["data"] == []
    metrics = (await api.http.get("/metrics")).text
    assert f'coterie_tokens_total{{expert="words",kind="prompt"}} {found.usage.prompt_tokens}.0' in metrics


async def test_base64_holds_the_same_vector(api: Api) -> None:
    document = (await embed(api, CODE, encoding_format="base64", dimensions=DIMENSION)).json()
    packed = base64.b64decode(document["data"][0]["embedding"])
    assert np.allclose(np.frombuffer(packed, dtype="<f4"), WordEncoder().encode([CODE])[0])
    # OpenAI's client asks for base64 on its own and unpacks it.
    async with api.openai() as client:
        answer = await client.embeddings.create(model="words", input=CODE)
        assert np.allclose(answer.data[0].embedding, WordEncoder().encode([CODE])[0])
        assert (await client.models.retrieve("words")).id == "words"
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="coterie", input=CODE)


async def test_many_texts_keep_their_order_and_leave_room_for_routing(api: Api) -> None:
    texts = [f"{'python ' * (number % 5)}hello" for number in range(200)]
    many = asyncio.create_task(embed(api, texts))
    assert (await api.chat(CODE)).status_code == 200
    found = strict((await many).json())
    assert np.allclose([each.embedding for each in found.data], WordEncoder().encode(texts), atol=1e-6)


class SlowEncoder(WordEncoder):
    """Each piece takes a while."""

    def states(self, texts: Sequence[str]) -> Matrix:
        time.sleep(0.05)
        return super().states(texts)


async def test_a_request_for_embeddings_has_its_time(world: World) -> None:
    async with world.serve(embedding_s=0.2) as api:
        slow = replace(api.services.routing.router, encoder=SlowEncoder())
        api.services.routing.routers = Routers(slow)
        response = await embed(api, ["hello"] * 500)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (504, "embedding_timeout")
        assert (await embed(api, "hello")).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_value", "input[0]"),
        ({"input": ["x", ""]}, 400, "invalid_value", "input[1]"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"input": [["x"]]}, 400, "invalid_value", "input"),
        ({"input": [[]]}, 400, "invalid_value", "input"),
        ({"input": [True]}, 400, "invalid_value", "input"),
        ({"input": ["x", 1]}, 400, "invalid_value", "input"),
        ({"input": None}, 400, "invalid_value", "input"),
        ({"input": [1, 2]}, 400, "invalid_value", "input"),
        ({"input": [[1, 2], [3]]}, 400, "invalid_value", "input"),
        ({"input": ["x"] * 2_049}, 400, "invalid_value", "input"),
        ({"input": ["x", "a " * (TEXT_TOKENS + 1)]}, 400, "context_length_exceeded", "input[1]"),
        ({"input": "a" * TEXT_TOKENS * 9}, 400, "context_length_exceeded", "input[0]"),
        ({"dimensions": 2}, 400, "invalid_value", "dimensions"),
        ({"encoding_format": "hex"}, 400, "invalid_value", "encoding_format"),
        ({"model": "coterie"}, 404, "model_not_found", "model"),
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "coder"}, 400, "capability_unavailable", "model"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    api: Api, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    response = await embed(api, **{"given": fields.get("input", "hello"), **fields})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


@pytest.fixture
def embedder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of embeddings that knows no base64, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        body = await request.json()
        asked.append(body)
        if body["input"] == "overloaded":
            return JSONResponse({"error": {"message": "busy"}}, 503)
        count = 1 if isinstance(body["input"], str) else len(body["input"])
        data = [{"object": "embedding", "index": index, "embedding": VECTOR} for index in range(count)]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return JSONResponse({"object": "list", "data": data, "model": "theirs", "usage": usage})

    with serve_in_thread(Starlette(routes=[Route("/v1/embeddings", answer, methods=["POST"])])) as port:
        yield f"http://127.0.0.1:{port}/v1", asked


async def test_an_expert_with_the_capability_embeds(
    world: World, embedder: tuple[str, list[dict[str, Any]]]
) -> None:
    endpoint, asked = embedder
    world.endpoints["talker"] = endpoint
    async with world.serve(check_health=False, expert_fields={"capabilities": ["embeddings"]}) as api:
        document = (await embed(api, ["a", "b"], model="talker", dimensions=3, user="ann")).json()
        found = strict(document)
        assert (found.model, found.data[1].embedding, found.usage.total_tokens) == ("talker", VECTOR, 3)
        assert asked[0] == {"model": "talker", "input": ["a", "b"], "dimensions": 3, "user": "ann"}
        packed = (await embed(api, "a", model="talker", encoding_format="base64")).json()
        raw = base64.b64decode(packed["data"][0]["embedding"])
        assert np.frombuffer(raw, dtype="<f4").tolist() == VECTOR
        assert (await embed(api, [1, 2, 3], model="talker")).status_code == 200
        down = await embed(api, "overloaded", model="talker")
        assert (down.status_code, down.json()["error"]["code"]) == (503, "expert_unavailable")
