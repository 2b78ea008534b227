"""The client against a real server on loopback: what is sent, what comes back, and what can go wrong."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from experts.client import ClientLimits, ExpertClient
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert
from experts.expert_replies import raw_bytes
from experts.fake import RunningFake, run_fake_expert
from tests.integration.experts.conftest import ask, make_expert


async def collect(client: ExpertClient, expert: Expert, body: dict[str, Any]) -> bytes:
    async with client.stream(expert, body) as stream:
        return b"".join([raw_bytes(events) async for events in stream])


def texts(sse: bytes) -> str:
    """The text of a streamed answer."""
    events = [line.removeprefix(b"data: ") for line in sse.split(b"\n\n") if line]
    chunks = [json.loads(event) for event in events if event != b"[DONE]"]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def test_a_whole_answer_comes_back_as_the_server_sent_it(client: ExpertClient, expert: Expert) -> None:
    reply = await client.complete(expert, ask("good morning"))
    assert reply.status == 200
    assert reply.body["choices"][0]["message"]["content"] == "fake heard: good morning"
    assert reply.body["usage"]["completion_tokens"] == 4
    assert reply.headers["content-type"] == "application/json"


async def test_a_streamed_answer_arrives_piece_by_piece_while_it_is_written(
    client: ExpertClient, expert: Expert
) -> None:
    body = ask(fake={"reply": "one two three four", "token_delay_s": 0.03})
    arrivals = []
    async with client.stream(expert, body) as stream:
        async for _ in stream:
            arrivals.append(time.monotonic())
    assert len(arrivals) >= 5
    assert arrivals[-2] - arrivals[0] > 0.08


async def test_a_streamed_answer_ends_with_done_and_reports_usage(
    client: ExpertClient, expert: Expert
) -> None:
    async with client.stream(expert, ask("hi", stream_options={"include_usage": True})) as stream:
        sse = b"".join([raw_bytes(events) async for events in stream])
    assert texts(sse) == "fake heard: hi"
    assert sse.endswith(b"data: [DONE]\n\n")
    assert stream.finish_reason == "stop"
    assert stream.model == "small-model"
    assert stream.usage == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


async def test_model_and_default_sampling_are_filled_in_and_unknown_fields_pass(
    client: ExpertClient, fake: RunningFake
) -> None:
    expert = make_expert(fake.endpoint, sampling={"temperature": 0.2, "top_p": 0.9})
    await client.complete(
        expert, ask(model="coterie", temperature=0.7, guided_choice=["a", "b"], routing={"expert": "small"})
    )
    sent = fake.log.last
    assert sent["model"] == "small-model"
    assert sent["temperature"] == 0.7
    assert sent["top_p"] == 0.9
    assert sent["guided_choice"] == ["a", "b"]
    assert "routing" not in sent


async def test_tools_and_response_format_pass_and_the_tool_call_comes_back(
    client: ExpertClient, expert: Expert, fake: RunningFake
) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    reply = await client.complete(expert, ask("tides", tools=[tool], response_format={"type": "json_object"}))
    assert fake.log.last["tools"] == [tool]
    assert fake.log.last["response_format"] == {"type": "json_object"}
    call = reply.body["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call == {"name": "look_up", "arguments": '{"text": "tides"}'}


async def test_a_prompt_expert_speaks_first_in_one_system_message(
    client: ExpertClient, fake: RunningFake
) -> None:
    expert = make_expert(fake.endpoint, system_prompt="Be kind.")
    messages = [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": "hi"}]
    await client.complete(expert, {"messages": messages})
    assert fake.log.last["messages"] == [
        {"role": "system", "content": "Be kind.\n\nAnswer in French."},
        {"role": "user", "content": "hi"},
    ]


async def test_the_request_id_goes_along(client: ExpertClient, expert: Expert, fake: RunningFake) -> None:
    await client.complete(expert, ask(), request_id="req-17")
    assert fake.log.headers[-1]["x-request-id"] == "req-17"


async def test_connections_are_used_again_also_after_streams(expert: Expert) -> None:
    async with ExpertClient() as client:
        for _ in range(3):
            await collect(client, expert, ask())
            await client.complete(expert, ask())
        session = client._session
        assert session is not None
        assert session.connector is not None
        assert sum(map(len, session.connector._conns.values())) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_name_that_nobody_says_anything_of_is_out_of_reach_in_the_time_to_connect(
    client: ExpertClient, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    timeouts = {"connect_s": 0.1, "first_byte_s": 60, "idle_s": 60, "total_s": 60}
    expert = make_expert("http://silent.test:8000/v1", timeouts=timeouts)
    async with asyncio.timeout(20):
        with pytest.raises(ExpertUnavailable):
            await (collect(client, expert, ask()) if streamed else client.complete(expert, ask()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("trouble", "error", "code"),
    [
        ({"status": 500}, ExpertUnavailable, "expert_unavailable"),
        ({"status": 503}, ExpertUnavailable, "expert_unavailable"),
        ({"status": 403}, ExpertUnavailable, "expert_unavailable"),
        ({"status": 404}, ExpertUnavailable, "expert_unavailable"),
        ({"status": 429}, ExpertBusy, "expert_busy"),
        ({"status": 408}, ExpertTimeout, "expert_timeout"),
        ({"status": 302}, ExpertBadReply, "expert_bad_reply"),
        ({"status": 422}, ExpertRejected, "expert_rejected"),
        ({"rubbish_after": 0}, ExpertBadReply, "expert_bad_reply"),
    ],
)
async def test_trouble_before_the_first_byte_is_raised_as_what_it_is(
    client: ExpertClient,
    expert: Expert,
    trouble: dict[str, Any],
    error: type[ExpertError],
    code: str,
    streamed: bool,
) -> None:
    with pytest.raises(error) as caught:
        if streamed:
            await collect(client, expert, ask(fake=trouble))
        else:
            await client.complete(expert, ask(fake=trouble))
    assert caught.value.code == code
    assert caught.value.expert == "small"


async def test_a_server_that_is_not_there_is_unavailable(client: ExpertClient) -> None:
    expert = make_expert(f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(ExpertUnavailable) as caught:
        await client.complete(expert, ask())
    assert caught.value.status == 503
    assert "refused the connection" in caught.value.message


async def test_a_host_without_an_address_is_unavailable(client: ExpertClient) -> None:
    expert = make_expert("http://no-such-host.invalid/v1")
    with pytest.raises(ExpertUnavailable, match="does not resolve"):
        await client.complete(expert, ask())


async def test_an_expert_silent_before_its_first_byte_times_out(
    client: ExpertClient, fake: RunningFake
) -> None:
    quick = {"connect_s": 1, "first_byte_s": 0.1, "idle_s": 0.1, "total_s": 0.2}
    expert = make_expert(fake.endpoint, timeouts=quick)
    for trouble in ({"stall_after": 0}, {"delay_s": 5.0}):
        cancelled = fake.log.cancelled
        with pytest.raises(ExpertTimeout, match="no first byte"):
            await collect(client, expert, ask(fake=trouble))
        with pytest.raises(ExpertTimeout, match=r"0\.2 s"):
            await client.complete(expert, ask(fake=trouble))
        await fake.log.until(lambda log, before=cancelled: log.cancelled == before + 2)  # type: ignore[misc]


async def test_a_stall_in_the_middle_raises_from_the_iterator_and_stops_the_expert(
    client: ExpertClient, fake: RunningFake
) -> None:
    expert = make_expert(
        fake.endpoint, timeouts={"connect_s": 1, "first_byte_s": 20, "idle_s": 0.5, "total_s": 30}
    )
    cancelled, received = fake.log.cancelled, b""
    with pytest.raises(ExpertTimeout, match="stalled in the middle"):
        async with client.stream(expert, ask(fake={"stall_after": 3})) as stream:
            async for events in stream:
                received += raw_bytes(events)
    assert received.count(b"data: ") == 3
    await fake.log.until(lambda log: log.cancelled == cancelled + 1)


async def test_an_answer_that_never_ends_is_cut_at_the_total(client: ExpertClient, fake: RunningFake) -> None:
    expert = make_expert(
        fake.endpoint, timeouts={"connect_s": 1, "first_byte_s": 1, "idle_s": 1, "total_s": 0.8}
    )
    endless = ask(fake={"reply": "word " * 1000, "token_delay_s": 0.01})
    with pytest.raises(ExpertTimeout, match=r"0\.8 s"):
        await collect(client, expert, endless)


@pytest.mark.parametrize("trouble", ["die_after", "rubbish_after", "error_after"])
async def test_an_expert_that_breaks_in_the_middle_raises_after_what_was_good(
    client: ExpertClient, expert: Expert, trouble: str
) -> None:
    received = b""
    with pytest.raises(ExpertBadReply) as caught:
        async with client.stream(expert, ask(fake={trouble: 3, "token_delay_s": 0.01})) as stream:
            async for events in stream:
                received += raw_bytes(events)
    assert caught.value.status == 502
    assert received.count(b"data: ") == 3
    assert received.endswith(b"\n\n")
    assert b"html" not in received


async def test_an_error_event_before_any_text_is_the_servers_failure(
    client: ExpertClient, expert: Expert
) -> None:
    with pytest.raises(ExpertUnavailable, match="an error in its reply"):
        await collect(client, expert, ask(fake={"error_after": 0}))


async def test_leaving_a_stream_early_stops_the_expert(
    client: ExpertClient, expert: Expert, fake: RunningFake
) -> None:
    cancelled = fake.log.cancelled
    async with client.stream(expert, ask(fake={"reply": "word " * 1000, "token_delay_s": 0.01})) as stream:
        await anext(stream)
    await fake.log.until(lambda log: log.cancelled == cancelled + 1)


async def test_cancelling_a_request_stops_the_expert(
    client: ExpertClient, expert: Expert, fake: RunningFake
) -> None:
    cancelled, started = fake.log.cancelled, fake.log.started
    asking = asyncio.create_task(client.complete(expert, ask(fake={"delay_s": 5.0})))
    await fake.log.until(lambda log: log.started == started + 1)
    asking.cancel()
    await fake.log.until(lambda log: log.cancelled == cancelled + 1)
    assert client.admission.load(expert).in_flight == 0


async def test_a_conversation_that_does_not_fit_is_told_apart(client: ExpertClient) -> None:
    with run_fake_expert(context_length=10) as small:
        expert = make_expert(small.endpoint)
        for streamed in (False, True):
            with pytest.raises(ContextTooLong) as caught:
                if streamed:
                    await collect(client, expert, ask("word " * 20))
                else:
                    await client.complete(expert, ask("word " * 20))
            assert caught.value.status == 400
            assert caught.value.error["code"] == "context_length_exceeded"
            assert "maximum context length is 10" in caught.value.error["message"]


async def test_a_rejection_carries_the_servers_own_error_and_a_message_without_it(
    client: ExpertClient, expert: Expert
) -> None:
    said = {
        "message": "temperature must be below 2",
        "type": "BadRequestError",
        "param": "temperature",
        "code": 400,
    }
    with pytest.raises(ExpertRejected) as caught:
        await client.complete(expert, ask(fake={"status": 400, "error": said}))
    assert caught.value.error == said | {"code": "expert_rejected"}
    assert "temperature" not in str(caught.value)


async def test_the_key_is_sent_and_a_refused_one_is_never_repeated(
    client: ExpertClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("right-key-123\n")
    monkeypatch.setenv("COTERIE_TEST_KEY", "wrong-key-456")
    with run_fake_expert(api_key="right-key-123") as guarded:
        await client.complete(make_expert(guarded.endpoint, api_key_file=str(key_file)), ask())
        expert = make_expert(guarded.endpoint, api_key_env="COTERIE_TEST_KEY")
        with pytest.raises(ExpertUnavailable, match="refused our credentials") as caught:
            await client.complete(expert, ask())
    assert "wrong-key-456" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_key_that_a_server_repeats_in_a_rejection_is_hidden(
    client: ExpertClient, expert: Expert, monkeypatch: pytest.MonkeyPatch, fake: RunningFake
) -> None:
    monkeypatch.setenv("COTERIE_TEST_KEY", "wrong-key-456")
    expert = make_expert(fake.endpoint, api_key_env="COTERIE_TEST_KEY")
    said = {"message": "project of wrong-key-456 and sk-abcdefgh12345 is closed", "type": "billing"}
    with pytest.raises(ExpertRejected) as caught:
        await client.complete(expert, ask(fake={"status": 400, "error": said}))
    assert caught.value.error["message"] == "project of [secret] and [secret] is closed"


async def test_a_missing_key_is_told_by_the_name_of_its_variable(
    client: ExpertClient, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COTERIE_TEST_KEY", raising=False)
    expert = make_expert(fake.endpoint, api_key_env="COTERIE_TEST_KEY")
    with pytest.raises(ExpertUnavailable, match="COTERIE_TEST_KEY"):
        await client.complete(expert, ask())


async def test_a_reply_past_the_bound_is_refused(expert: Expert) -> None:
    async with ExpertClient(limits=ClientLimits(max_reply_bytes=1000, max_event_bytes=1000)) as client:
        body = ask(fake={"reply": "x" * 5000})
        with pytest.raises(ExpertBadReply, match="more than 1000 bytes"):
            await client.complete(expert, body)
        with pytest.raises(ExpertBadReply):
            await collect(client, expert, body)


async def test_no_more_requests_reach_an_endpoint_than_it_takes_and_the_rest_wait_or_are_turned_away(
    client: ExpertClient,
) -> None:
    with run_fake_expert() as fake:
        expert = make_expert(fake.endpoint, max_in_flight=2, max_queued=3)
        body = ask(fake={"delay_s": 0.1})
        asked = [client.complete(expert, body) for _ in range(8)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        turned_away = [answer for answer in answers if isinstance(answer, ExpertBusy)]
        assert len(turned_away) == 3
        await fake.log.until(lambda log: log.finished == 5)
        assert fake.log.max_in_flight == 2


async def test_the_server_lists_its_models(client: ExpertClient) -> None:
    with run_fake_expert(models=["small-model", "other"]) as fake:
        assert await client.models(make_expert(fake.endpoint)) == ("small-model", "other")


async def test_the_server_counts_what_it_would_be_sent(client: ExpertClient) -> None:
    with run_fake_expert() as fake:
        plain = make_expert(fake.endpoint)
        prompted = plain.model_copy(update={"system_prompt": "Be very brief."})
        assert await client.tokenize(plain, ask("two words")) == 3
        assert await client.tokenize(prompted, ask("two words")) == 7
        assert fake.log.started == 0


async def test_a_server_that_does_not_count_is_an_error(client: ExpertClient, expert: Expert) -> None:
    elsewhere = expert.model_copy(update={"endpoint": f"{expert.endpoint}/v1"})
    with pytest.raises(ExpertUnavailable):
        await client.tokenize(elsewhere, ask("Hi"))


async def test_a_closed_client_refuses_to_ask(expert: Expert) -> None:
    client = ExpertClient()
    await client.complete(expert, ask())
    await client.aclose()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.complete(expert, ask())
