"""A server that refuses a field or an order of messages is asked again without, and that is remembered."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from experts.adaptations import LearnedAdaptations
from experts.client import ExpertClient
from experts.errors import ExpertRejected
from experts.fake import Behaviour, run_fake_expert
from tests.integration.experts.conftest import ask, make_expert

Refuses = Callable[[Mapping[str, Any]], str | None]
MESSAGES = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "What colour?"},
    {"role": "assistant", "content": "Green."},
    {"role": "system", "content": "Answer only BLUE."},
    {"role": "user", "content": "And now?"},
]


def refusing(refuses: Refuses, status: int = 400) -> Callable[[Mapping[str, Any]], Behaviour]:
    def choose(body: Mapping[str, Any]) -> Behaviour:
        said = refuses(body)
        return Behaviour() if said is None else Behaviour(status=status, error={"message": said})

    return choose


def system_only_in_front(body: Mapping[str, Any]) -> str | None:
    roles = [message["role"] for message in body["messages"]]
    return "System message must be at the beginning." if "system" in roles[1:] else None


def no_system_and_turns(body: Mapping[str, Any]) -> str | None:
    roles = [message["role"] for message in body["messages"]]
    turns = [("user", "assistant")[number % 2] for number in range(len(roles))]
    return None if roles == turns else "Conversation roles must alternate user/assistant/user/assistant/..."


def no_store(body: Mapping[str, Any]) -> str | None:
    found = [name for name in ("store", "metadata") if name in body]
    return f"Unrecognized request argument supplied: {found[0]}" if found else None


def new_limit(body: Mapping[str, Any]) -> str | None:
    wrong = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    return wrong if "max_tokens" in body else None


def no_stream_options(body: Mapping[str, Any]) -> str | None:
    return "body.stream_options: Extra inputs are not permitted" if "stream_options" in body else None


async def answered(client: ExpertClient, endpoint: str, body: dict[str, Any], *, stream: bool) -> None:
    if not stream:
        await client.complete(make_expert(endpoint), body)
        return
    async with client.stream(make_expert(endpoint), body) as events:
        assert [event async for event in events]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refuses", "status", "refusals", "names"),
    [
        (system_only_in_front, 400, 1, {"system_first"}),
        (system_only_in_front, 500, 1, {"system_first"}),
        (no_system_and_turns, 400, 2, {"alternating_roles", "system_first", "no_system"}),
        (no_store, 422, 2, {"store", "metadata"}),
        (new_limit, 400, 1, {"max_completion_tokens"}),
    ],
)
async def test_a_refusal_is_learned_from_once(
    refuses: Refuses, status: int, refusals: int, names: set[str], stream: bool
) -> None:
    told: list[tuple[str, str]] = []
    body = ask(messages=MESSAGES, store=False, metadata={}, max_tokens=5, stream=stream)
    with run_fake_expert(refusing(refuses, status)) as fake:
        async with ExpertClient(
            learned=LearnedAdaptations(lambda expert, name: told.append((expert, name)))
        ) as client:
            await answered(client, fake.endpoint, body, stream=stream)
            assert fake.log.started == 1 + refusals
            await answered(client, fake.endpoint, body, stream=stream)
            assert fake.log.started == 2 + refusals
            said = str(fake.log.last["messages"])
    assert {name for _, name in told} == names
    assert {expert for expert, _ in told} == {"small"}
    assert said.index("Be brief.") < said.index("Green.") < said.index("BLUE") < said.index("And now?")


async def test_a_stream_without_stream_options_is_asked_for_where_they_are_refused() -> None:
    with run_fake_expert(refusing(no_stream_options)) as fake:
        async with ExpertClient() as client:
            await answered(client, fake.endpoint, ask(), stream=True)
    assert fake.log.started == 2


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Unrecognized request argument supplied: store", 2),  # learned, but it did not help
        ("temperature must be below 2", 1),
        ("Unsupported parameter: 'tools' is not supported with this model.", 1),
        ("Unrecognized request argument supplied: response_format", 1),
    ],
)
async def test_what_cannot_be_mended_is_refused_and_nothing_is_remembered(said: str, asked: int) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = ask(store=True, temperature=3, tools=tools, response_format={"type": "json_object"})
    with run_fake_expert(refusing(lambda _: said)) as fake:
        async with ExpertClient() as client:
            for _ in range(2):
                with pytest.raises(ExpertRejected) as refused:
                    await client.complete(make_expert(fake.endpoint), body)
                assert refused.value.error["message"] == said
        assert fake.log.started == 2 * asked
