"""Anthropic's own client against the service."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic
from pydantic import BaseModel

from tests.contracts.contract import QUESTION
from tests.contracts.contract_world import Service
from tests.contracts.messages_contract import TOOL


class Answer(BaseModel):
    answer: str


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Anthropic]:
    with Anthropic(base_url=service.url, api_key="none", max_retries=0) as opened:
        yield opened


def asking(text: str = QUESTION) -> list[anthropic.types.MessageParam]:
    return [{"role": "user", "content": text}]


def test_a_message(client: Anthropic) -> None:
    message = client.messages.create(model="coterie", max_tokens=100, messages=asking(), system="Be brief.")
    assert [block.text for block in message.content if block.type == "text"] == [f"coder heard: {QUESTION}"]
    assert message.stop_reason == "end_turn"
    again = client.messages.create(model=message.model, max_tokens=100, messages=asking())
    assert again.model == message.model


def test_the_stream_helper_puts_a_message_together(client: Anthropic) -> None:
    with client.messages.stream(model="coterie", max_tokens=100, messages=asking()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == f"coder heard: {QUESTION}"
    assert (final.stop_reason, final.content[0].type) == ("end_turn", "text")
    assert final.usage.output_tokens > 0


def test_tool_calls_and_their_results(client: Anthropic) -> None:
    tools: list[anthropic.types.ToolUnionParam] = [TOOL]  # type: ignore[list-item]
    with client.messages.stream(model="coterie", max_tokens=100, messages=asking(), tools=tools) as stream:
        message = stream.get_final_message()
    (used,) = (block for block in message.content if block.type == "tool_use")
    assert (message.stop_reason, used.input) == ("tool_use", {"text": QUESTION})
    result: anthropic.types.MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": used.id, "content": "found"}],
    }
    final = client.messages.create(
        model="coterie", max_tokens=100, messages=[*asking(), message.to_param(), result], tools=tools
    )
    assert final.stop_reason == "end_turn"


def test_structured_output_is_parsed(client: Anthropic) -> None:
    message = client.messages.parse(model="coterie", max_tokens=100, messages=asking(), output_format=Answer)
    assert message.parsed_output == Answer(answer=f"coder heard: {QUESTION}")


def test_tokens_are_counted(client: Anthropic) -> None:
    short = client.messages.count_tokens(model="coterie", messages=asking())
    long = client.messages.count_tokens(model="coterie", messages=asking(QUESTION * 20))
    assert 0 < short.input_tokens < long.input_tokens


def test_models_are_listed(client: Anthropic) -> None:
    assert "coterie" in {model.id for model in client.models.list()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("mark", "model", "kind"),
    [
        ("rejected", "coterie", anthropic.BadRequestError),
        ("busy", "coterie", anthropic.RateLimitError),
        ("", "nobody", anthropic.NotFoundError),
    ],
)
def test_errors_are_the_clients_own_classes(
    failing: Service, mark: str, model: str, kind: type[anthropic.APIStatusError], stream: bool
) -> None:
    with (
        Anthropic(base_url=failing.url, api_key="none", max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        client.messages.create(
            model=model, max_tokens=9, messages=asking(f"python [[{mark}]]"), stream=stream
        )
    assert caught.value.request_id


def test_a_stream_that_breaks_raises(failing: Service) -> None:
    with Anthropic(base_url=failing.url, api_key="none", max_retries=0) as client:
        stream = client.messages.create(
            model="coterie", max_tokens=9, messages=asking("python [[breaks]]"), stream=True
        )
        with pytest.raises(anthropic.APIStatusError, match="in the middle of its answer"):
            list(stream)
