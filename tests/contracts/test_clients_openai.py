"""OpenAI's own client against the service."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types import CreateEmbeddingResponse
from pydantic import BaseModel

from tests.contracts.chat_contract import TOOL
from tests.contracts.contract import QUESTION
from tests.contracts.contract_world import Service
from tests.contracts.responses_contract import TOOL as RESPONSES_TOOL
from tests.contracts.validation import problems


class Answer(BaseModel):
    answer: str


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def asking(text: str = QUESTION) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_a_chat_and_the_model_that_it_names(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="coterie", messages=asking())
    assert answer.choices[0].message.content == f"coder heard: {QUESTION}"
    again = client.chat.completions.create(model=answer.model, messages=asking())
    assert again.model == answer.model
    assert client.models.retrieve(answer.model).id == answer.model


def test_the_stream_helper_puts_a_chat_together(client: OpenAI) -> None:
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    with client.chat.completions.stream(model="coterie", messages=asking(), stream_options=options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == f"coder heard: {QUESTION}"
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None and final.usage.total_tokens > 0


def test_tool_calls_and_their_results(client: OpenAI) -> None:
    tools: list[openai.types.chat.ChatCompletionToolUnionParam] = [TOOL]  # type: ignore[list-item]
    with client.chat.completions.stream(model="coterie", messages=asking(), tools=tools) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.function.parsed_arguments == {"text": QUESTION}
    result: openai.types.chat.ChatCompletionToolMessageParam = {
        "role": "tool",
        "tool_call_id": call.id,
        "content": "found",
    }
    said = message.model_dump(exclude_none=True, exclude={"parsed"})
    called: openai.types.chat.ChatCompletionAssistantMessageParam = said  # type: ignore[assignment]
    final = client.chat.completions.create(model="coterie", messages=[*asking(), called, result], tools=tools)
    assert final.choices[0].finish_reason == "stop"


def test_a_response_and_what_follows_it(client: OpenAI) -> None:
    first = client.responses.create(model="coterie", input=QUESTION, instructions="Be brief.")
    assert (first.status, first.output_text) == ("completed", f"coder heard: {QUESTION}")
    second = client.responses.create(model="coterie", input="And now?", previous_response_id=first.id)
    assert second.output_text == "coder heard: And now?"
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(second.id).output_text == second.output_text
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_the_stream_helper_puts_a_response_together(client: OpenAI) -> None:
    with client.responses.stream(model="coterie", input=QUESTION) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == f"coder heard: {QUESTION}"
    assert final.usage is not None and final.usage.total_tokens > 0


def test_function_calls_of_responses_and_their_results(client: OpenAI) -> None:
    tools: list[openai.types.responses.ToolParam] = [RESPONSES_TOOL]  # type: ignore[list-item]
    first = client.responses.create(model="coterie", input=QUESTION, tools=tools)
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "look_up"
    result: openai.types.responses.response_input_param.FunctionCallOutput = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": "found",
    }
    final = client.responses.create(
        model="coterie", input=[result], previous_response_id=first.id, tools=tools
    )
    assert final.output_text


def test_structured_output_of_a_response_is_parsed(client: OpenAI) -> None:
    response = client.responses.parse(model="coterie", input=QUESTION, text_format=Answer)
    assert response.output_parsed == Answer(answer=f"coder heard: {QUESTION}")


def test_structured_output_is_parsed(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="coterie", messages=asking(), response_format=Answer)
    assert answer.choices[0].message.parsed == Answer(answer=f"coder heard: {QUESTION}")


def test_a_text_completion(client: OpenAI) -> None:
    whole = client.completions.create(model="coterie", prompt=QUESTION, max_tokens=100)
    assert whole.choices[0].text == f"coder heard: {QUESTION}"
    stream = client.completions.create(model="coterie", prompt=QUESTION, max_tokens=100, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model="words", input=["python", "hello"])
    assert problems(CreateEmbeddingResponse, answer.model_dump(exclude_unset=True)) == []
    assert [len(each.embedding) for each in answer.data] == [4, 4]


def test_models_are_listed(client: OpenAI) -> None:
    assert {"coterie", "coder", "talker", "backup"} <= {model.id for model in client.models.list()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("mark", "model", "kind"),
    [
        ("rejected", "coterie", openai.BadRequestError),
        ("busy", "coterie", openai.RateLimitError),
        ("", "nobody", openai.NotFoundError),
    ],
)
def test_errors_are_the_clients_own_classes(
    failing: Service, mark: str, model: str, kind: type[openai.APIStatusError], stream: bool
) -> None:
    with (
        OpenAI(base_url=f"{failing.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        client.chat.completions.create(model=model, messages=asking(f"python [[{mark}]]"), stream=stream)
    assert caught.value.code
    assert caught.value.request_id


def test_a_stream_that_breaks_raises(failing: Service) -> None:
    with OpenAI(base_url=f"{failing.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="coterie", messages=asking("python [[breaks]]"), stream=True
        )
        with pytest.raises(openai.APIError, match="in the middle of its answer"):
            list(stream)
