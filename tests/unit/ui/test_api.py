"""The HTTP client of the console: streams, refusals, silence."""

import asyncio
import time
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ui.api_server import Running
from tests.unit.ui.conftest import NOBODY
from ui.answer_filling import fill
from ui.api import ChatEvent, CoterieApi, Counted, Ended, Routed, Said, _events, read_chunk
from ui.background import BackgroundLoop
from ui.conversation_store import Answer, State
from ui.errors import ApiBadReply, ApiRefused, ApiTimeout, ApiUnreachable
from ui.settings import ConsoleSettings


def body(question: str) -> dict[str, object]:
    return {"model": "coterie", "messages": [{"role": "user", "content": question}], "stream": True}


async def heard(api: CoterieApi, question: str) -> list[ChatEvent]:
    return [event async for event in api.chat(body(question))]


def test_a_stream_says_who_answers_then_the_text_then_the_end(loop: BackgroundLoop, api: CoterieApi) -> None:
    events = loop.run(heard(api, "Write code"))
    assert isinstance(events[0], Routed)
    assert events[0].decision.expert == "coder"
    assert "".join(event.text for event in events if isinstance(event, Said)).startswith("Here is **an")
    assert events[-2:] == [Ended("stop"), Counted(9, 12)]


STREAM = (
    'data: {"choices": [{"delta": {"content": "Grüße, 世界"}}], "routing": null}\r\n\r\n'
    ": a comment\n\n"
    'data: {"choices": [{"delta": {"content": " and on"}, "finish_reason": "stop"}]}\n\n'
    "data: [DONE]\n\n"
).encode()


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]

    class Cut(httpx2.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            for piece in pieces:
                yield piece

    async def read() -> list[ChatEvent]:
        response = httpx2.Response(
            200,
            headers={"content-type": "text/event-stream"},
            stream=Cut(),
            request=httpx2.Request("POST", NOBODY),
        )
        return [event async for event in _events(response)]

    assert asyncio.run(read()) == [Said("Grüße, 世界"), Said(" and on"), Ended("stop")]


def test_an_error_of_the_api_is_repeated_in_its_words(loop: BackgroundLoop, api: CoterieApi) -> None:
    with pytest.raises(ApiRefused, match="longer than any expert takes") as caught:
        loop.run(heard(api, "!refuse"))
    assert caught.value.code == "context_length_exceeded"
    assert "Start a new chat" in caught.value.hint


def test_an_error_inside_a_stream_is_an_error() -> None:
    with pytest.raises(ApiRefused, match="Gone") as caught:
        read_chunk({"error": {"message": "Gone", "code": "expert_timeout"}})
    assert caught.value.code == "expert_timeout"


def test_what_is_no_coterie_api_is_told_by_its_status(loop: BackgroundLoop, api: CoterieApi) -> None:
    with pytest.raises(ApiRefused, match="status 502"):
        loop.run(heard(api, "!proxy"))


def test_a_stream_that_ends_early_is_no_answer(loop: BackgroundLoop, api: CoterieApi) -> None:
    with pytest.raises(ApiTimeout, match="before its end"):
        loop.run(heard(api, "!broken"))


def test_nobody_at_the_address_is_told_with_the_address(loop: BackgroundLoop) -> None:
    api = CoterieApi(ConsoleSettings(api_url=NOBODY))
    with pytest.raises(ApiUnreachable, match=NOBODY) as caught:
        loop.run(api.experts())
    assert "coterie serve" in caught.value.hint
    loop.run(api.close())


def test_silence_ends_an_answer_and_keeps_its_text(loop: BackgroundLoop) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        writer.write(head + b'data: {"choices": [{"delta": {"content": "So far"}}]}\n\n')
        await writer.drain()
        await reader.read()
        writer.close()

    async def scene() -> Answer:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = ConsoleSettings(api_url=f"http://127.0.0.1:{port}", console_idle_s=0.2)
            api, answer = CoterieApi(settings), Answer()
            await fill(answer, api, body("Hello"))
            await api.close()
            return answer

    answer = loop.run(scene())
    assert answer.text == "So far"
    assert answer.state is State.FAILED
    assert isinstance(answer.error, ApiTimeout)


def test_stopping_closes_the_connection(loop: BackgroundLoop, api: CoterieApi, server: Running) -> None:
    answer = Answer()
    answer.work = loop.start(fill(answer, api, body("!slow")))
    deadline = time.monotonic() + 10
    while not answer.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    answer.stop()
    said = answer.text
    while not server.log.given_up:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert answer.state is State.STOPPED
    assert answer.text == said


def test_the_composition_and_the_experts_are_read(loop: BackgroundLoop, api: CoterieApi) -> None:
    composition = loop.run(api.composition())
    assert composition.map["coding"] == "coder"
    assert composition.title_of("smalltalk") == "Small talk"
    assert composition.utilities["coding"]["coder"] == 0.71
    experts = {card.name: card for card in loop.run(api.experts())}
    assert experts["writer"].health.state == "down"


def test_a_decision_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ApiBadReply):
        read_chunk({"routing": {"expert": 3}})


@pytest.mark.parametrize("url", ["http://host:8000/v1", "http://host:8000/", "http://host:8000"])
def test_the_address_may_be_written_as_clients_write_it(url: str) -> None:
    assert ConsoleSettings(api_url=url).root == "http://host:8000"
