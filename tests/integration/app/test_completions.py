"""/v1/completions through the service: routed like a chat, answered in the older form."""

from typing import Any

import httpx2
import openai
import pytest
from openai.types import Completion

from tests.integration.app.world import CODE, TALK, Api, World, events_of

LIMIT = {"max_tokens": 100}


async def complete(api: Api, prompt: Any, **fields: Any) -> httpx2.Response:
    body = {"model": "coterie", "prompt": prompt, **LIMIT, **fields}
    return await api.http.post("/v1/completions", json=body)


def strict(document: dict[str, Any]) -> Completion:
    """OpenAI's model, with nothing but `routing` beside it."""
    ours = {name: value for name, value in document.items() if name != "routing"}
    found = Completion.model_validate(ours, strict=True)
    assert found.model_extra == {}
    assert all(choice.model_extra == {} for choice in found.choices)
    return found


async def test_a_prompt_is_routed_and_continued(api: Api) -> None:
    response = await complete(api, CODE)
    found, routing = strict(response.json()), response.json()["routing"]
    assert (found.object, found.model) == ("text_completion", "coder")
    assert found.choices[0].text == f"coder heard: {CODE}"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None and found.usage.completion_tokens > 0
    assert (routing["expert"], routing["category"]) == ("coder", "coding")
    decision = await api.decision(response.headers["x-coterie-decision"])
    assert (decision["status"], decision["usage"]["completion_tokens"]) == (
        "ok",
        found.usage.completion_tokens,
    )


async def test_tools_are_left_out_since_a_text_has_no_place_for_calls(api: Api) -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    response = await complete(api, CODE, tools=[tool], tool_choice="required")
    assert strict(response.json()).choices[0].text == f"coder heard: {CODE}"
    assert not api.fakes["coder"].log.last.keys() & {"tools", "tool_choice"}


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_is_of_text_completions(api: Api, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    response = await complete(api, CODE, stream=True, echo=True, **options)
    *chunks, done = events_of(response.text)
    assert done == "[DONE]"
    assert [("routing" in chunk) for chunk in chunks] == [True, *[False] * (len(chunks) - 1)]
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == f"{CODE}coder heard: {CODE}"
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [bool(chunk["choices"]) for chunk in chunks] == [*[True] * (len(chunks) - usage), *[False] * usage]
    last = chunks[-1 - usage]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert strict({**last}).model == "coder"


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_have_n_choices_each(api: Api, stream: bool) -> None:
    response = await complete(api, ["hello", CODE], n=2, echo=True, stream=stream)
    assert response.status_code == 200, response.text
    if stream:
        chunks = events_of(response.text)[:-1]
        texts = [""] * 4
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            texts[choice["index"]] += choice["text"]
    else:
        found = strict(response.json())
        assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
        texts = [choice.text for choice in found.choices]
    answers = ("hellocoder heard: hello", f"{CODE}coder heard: {CODE}")
    assert texts == [answers[0]] * 2 + [answers[1]] * 2
    decision = await api.decision(response.headers["x-coterie-decision"])
    asked = api.fakes["coder"].log.bodies
    assert len(asked) == 2
    words = 3 + len(f"coder heard: {CODE}".split())
    assert decision["usage"]["completion_tokens"] == 2 * words


async def test_logprobs_are_parallel_lists(api: Api) -> None:
    found = strict((await complete(api, "hello", logprobs=2)).json())
    logprobs = found.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None and logprobs.text_offset is not None
    assert "".join(logprobs.tokens) == found.choices[0].text
    assert logprobs.text_offset == [0, 6, 13]
    assert api.fakes["talker"].log.last["top_logprobs"] == 2


async def test_the_limit_is_the_apis_own_unless_one_is_set(api: Api) -> None:
    await api.http.post("/v1/completions", json={"model": "talker", "prompt": "hello"})
    assert api.fakes["talker"].log.last["max_tokens"] == 16


async def test_a_strategy_answers_completions_too(api: Api) -> None:
    response = await complete(api, CODE, routing={"strategy": "cascade"})
    assert strict(response.json()).model in api.fakes
    assert response.json()["routing"]["strategy"] == "cascade"
    streamed = events_of((await complete(api, CODE, stream=True, routing={"strategy": "cascade"})).text)[:-1]
    assert "".join(choice["text"] for chunk in streamed for choice in chunk["choices"]).endswith(CODE)
    assert streamed[-1]["routing"]["trace"]["steps"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": [1, 2, 3]}, "prompt", "invalid_value"),
        ({"prompt": [[1, 2], [3]]}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ["x"] * 65}, "prompt", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"suffix": "end"}, "suffix", "unsupported_value"),
        ({"best_of": 3}, "best_of", "unsupported_value"),
        ({"echo": True, "logprobs": 1}, "echo", "unsupported_value"),
        ({"n": 0}, "n", "invalid_value"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    api: Api, fields: dict[str, Any], param: str, code: str
) -> None:
    response = await complete(api, **{"prompt": TALK, **fields})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert all(fake.log.started == 0 for fake in api.fakes.values())


async def test_the_openai_client_reads_it_and_raises_its_own_errors(api: Api) -> None:
    async with api.openai() as client:
        answer = await client.completions.create(model="coterie", prompt=CODE, max_tokens=50)
        assert answer.choices[0].text == f"coder heard: {CODE}"
        stream = await client.completions.create(model="coterie", prompt=CODE, max_tokens=50, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == f"coder heard: {CODE}"
        with pytest.raises(openai.NotFoundError):
            await client.completions.create(model="nobody", prompt=CODE)


async def test_an_error_after_the_first_text_ends_the_stream(world: World) -> None:
    async with world.serve() as api:
        response = await complete(api, ["hello", CODE], stream=True, fake={"die_after": 3})
        last = events_of(response.text)[-1]
        assert last["error"]["code"] == "expert_bad_reply"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_with_completions_of_its_own_gets_the_prompt_as_it_came(
    world: World, stream: bool
) -> None:
    async with world.serve(expert_fields={"dialects": ["completions"]}) as api:
        response = await complete(api, CODE, suffix="end", best_of=2, stream=stream)
        assert response.status_code == 200, response.text
        asked = api.fakes["coder"].log
        assert asked.paths[-1].endswith("/completions") and "chat" not in asked.paths[-1]
        assert {name: asked.last[name] for name in ("prompt", "suffix", "best_of", "model")} == {
            **{"prompt": CODE, "suffix": "end", "best_of": 2, "model": "coder"}
        }
        first = events_of(response.text)[0] if stream else response.json()
        assert (first["model"], first["object"], first["routing"]["expert"]) == (
            *("coder", "text_completion"),
            "coder",
        )
        # Several prompts are asked one by one here too.
        many = await complete(api, [CODE, "hello"], stream=stream, n=2)
        assert [each["prompt"] for each in asked.bodies[-2:]] == [CODE, "hello"]
        chunks = events_of(many.text)[:-1] if stream else [many.json()]
        assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1, 2, 3}
