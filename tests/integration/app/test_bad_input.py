"""Every bad request gets a clear error of OpenAI's shape, and no expert is asked."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from tests.integration.app.world import CODE, TALK, Api, World

SECRET = "my-secret-diary"
MESSAGES = [{"role": "user", "content": TALK}]


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error, checked to be of OpenAI's shape and to repeat nothing of the prompt."""
    assert SECRET not in response.text
    document = response.json()
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


WRONG_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": None}, "messages", "invalid_value"),
    ({"messages": SECRET}, "messages", "invalid_value"),
    ({"messages": [SECRET]}, "messages[0]", "invalid_value"),
    ({"messages": [{"content": SECRET}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": SECRET, "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user", "content": {"a": SECRET}}]}, "messages[0].content", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"text": SECRET}]}]},
        "messages[0].content",
        "invalid_value",
    ),
    ({"messages": [{"role": "user"}]}, "messages[0]", "invalid_value"),
    ({"messages": MESSAGES, "stream": SECRET}, "stream", "invalid_value"),
    ({"messages": MESSAGES, "max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"messages": MESSAGES, "max_tokens": "10"}, "max_tokens", "invalid_value"),
    ({"messages": MESSAGES, "tools": {"a": 1}}, "tools", "invalid_value"),
    ({"messages": MESSAGES, "model": 3}, "model", "invalid_value"),
    ({"messages": MESSAGES, "routing": {"expret": "coder"}}, "routing.expret", "unknown_parameter"),
    ({"messages": MESSAGES, "routing": SECRET}, "routing", "invalid_value"),
    ({"messages": MESSAGES, "routing": {"expert": "codr"}}, "routing.expert", "invalid_value"),
    ({"messages": MESSAGES, "routing": {"category": "codng"}}, "routing.category", "invalid_value"),
    ({"messages": MESSAGES, "routing": {"exclude": ["codr"]}}, "routing.exclude", "invalid_value"),
    ({"messages": MESSAGES, "routing": {"boost": {"codr": 1}}}, "routing.boost", "invalid_value"),
    (
        {"messages": MESSAGES, "routing": {"boost": {"coder": "x"}}},
        "routing.boost.coder",
        "invalid_value",
    ),
    ({"messages": MESSAGES, "routing": {"strategy": "panl"}}, "routing.strategy", "invalid_value"),
    (
        {"messages": MESSAGES, "routing": {"conversation": "a b"}},
        "routing.conversation",
        "invalid_value",
    ),
    (
        {"messages": MESSAGES, "routing": {"expert": "coder", "category": "coding"}},
        "routing",
        "invalid_value",
    ),
]
"""Bodies, the field that is wrong, and the error's code."""


async def test_a_wrong_field_is_named(api: Api) -> None:
    for body, param, code in WRONG_FIELDS:
        for path in ("/v1/chat/completions", "/v1/route"):
            response = await api.http.post(path, json={"model": "coterie", **body})
            error = error_of(response)
            found = (response.status_code, error["type"], error["code"])
            assert found == (400, "invalid_request_error", code), body
            if param == "routing" and "expert" in (body["routing"] or {}):
                assert "not both" in error["message"]
            else:
                assert error["param"] == param, body


INVALID_JSON = {
    "empty": b"",
    "open": b"{",
    "cut": f'{{"messages": "{SECRET}'.encode(),
    "array": b"[]",
    "string": b'"text"',
    "not utf-8": b"\xff\xfe",
    "NaN": b'{"model": NaN}',
    "long number": b'{"a": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
}


async def test_invalid_json_is_refused(api: Api) -> None:
    for name, raw in INVALID_JSON.items():
        response = await api.http.post("/v1/chat/completions", content=raw)
        assert (response.status_code, error_of(response)["code"]) == (400, "invalid_json"), name


async def test_an_unknown_model_is_not_found_with_suggestions(api: Api) -> None:
    response = await api.chat(model="codr")
    assert response.status_code == 404
    error = error_of(response)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "coder" in error["message"]
    assert (await api.chat(model="coterie/cooking")).status_code == 404


async def test_a_missing_model_is_told_what_there_is(api: Api) -> None:
    response = await api.http.post("/v1/chat/completions", json={"messages": MESSAGES})
    assert response.status_code == 404
    error = error_of(response)
    assert error["code"] == "model_not_found"
    assert "coterie" in error["message"]


async def test_a_body_of_10_mb_is_too_large(api: Api) -> None:
    response = await api.chat(SECRET * 700_000)
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"
    assert (await api.chat(TALK)).status_code == 200


async def test_a_body_without_a_length_is_measured_as_it_comes(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"model": "coterie", "messages": [{"role": "user", "content": "'
        for _ in range(40):
            yield b"x" * 1000
        yield b'"}]}'

    async with world.serve(max_body_bytes=20_000) as api:
        response = await api.http.post("/v1/chat/completions", content=chunks())
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"
        assert (await api.chat(TALK)).status_code == 200


async def test_a_context_longer_than_any_expert_takes_is_refused_before_anybody_is_asked(api: Api) -> None:
    long = "python " * 5_000
    for model in ("coterie", "coder", "coterie/coding"):
        response = await api.chat(long, model=model)
        assert response.status_code == 400
        assert error_of(response)["code"] == "context_length_exceeded"
        assert "4,000" in error_of(response)["message"]
    assert all(fake.log.started == 0 for fake in api.fakes.values())


async def test_a_context_too_long_for_the_first_choice_goes_to_one_that_takes_it(api: Api) -> None:
    routing = (await api.chat("hello " * 1_000)).json()["routing"]
    assert (routing["reason"], routing["expert"]) == ("filtered", "backup")


async def test_pictures_need_an_expert_that_sees(api: Api) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {"model": "coterie", "messages": [{"role": "user", "content": [part]}]}
    response = await api.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert error_of(response)["code"] == "capability_unavailable"


async def test_excluding_everybody_is_refused(api: Api) -> None:
    response = await api.chat(routing={"exclude": ["coder", "talker", "backup"]})
    assert response.status_code == 400
    assert "excluded" in error_of(response)["message"]


async def test_what_the_expert_rejects_is_passed_on(api: Api) -> None:
    error = {"message": "temperature must be below 2", "type": "BadRequestError", "param": "temperature"}
    for stream in (False, True):
        response = await api.chat(CODE, stream=stream, fake={"status": 400, "error": error})
        assert (response.status_code, error_of(response)["message"]) == (400, error["message"])
        assert response.headers["x-coterie-expert"] == "coder"


async def test_the_openai_client_raises_its_own_classes(api: Api) -> None:
    async with api.openai() as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="coterie", messages=[])
        assert bad.value.param == "messages"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.models.retrieve("nobody")
        assert missing.value.code == "model_not_found"


async def test_an_address_or_method_that_is_not_there(api: Api) -> None:
    response = await api.http.get("/v1/nothing")
    assert response.status_code == 404
    assert error_of(response)["code"] == "not_found"
    response = await api.http.get("/v1/chat/completions")
    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"


async def test_a_wrong_query_of_the_decisions_is_named(api: Api) -> None:
    for query in ("limit=0", "limit=x", "after=nonsense", "since=yesterday"):
        response = await api.http.get(f"/v1/decisions?{query}")
        assert (response.status_code, error_of(response)["param"]) == (400, query.partition("=")[0])


async def test_nothing_of_a_refused_prompt_is_logged(
    api: Api, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.chat(SECRET, max_tokens="x")
    await api.chat(SECRET)
    await api.http.post("/v1/chat/completions", content=json.dumps({"messages": SECRET}).encode())
    said = capsys.readouterr()
    assert logged.getvalue().count("/v1/chat/completions") == 3
    assert SECRET not in said.out + said.err + logged.getvalue()


async def test_fields_of_an_odd_type_never_break_the_service(api: Api) -> None:
    odd: list[dict[str, Any]] = [
        {"response_format": {"type": ["json_object"]}},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": 5}]},
        {"top_logprobs": "many", "routing": {"strategy": "cascade"}},
    ]
    for extra in odd:
        response = await api.chat("hello there", **extra)
        assert response.status_code in {200, 400}, (extra, response.text)
