"""Answers as they grow, are stopped and fail, over the real client."""

import asyncio
import time
from typing import Any

import pytest

from client import ApiTimeout, AsyncClient
from tests.unit.ui.api_server import Running
from ui.answer_filling import fill
from ui.background import BackgroundLoop
from ui.conversation_store import AnswerState, LiveAnswer
from ui.settings import ConsoleSettings


def body(question: str) -> dict[str, Any]:
    return {"model": "coterie", "messages": [{"role": "user", "content": question}]}


def test_an_answer_has_its_decision_its_text_its_end_and_its_tokens(
    loop: BackgroundLoop, api: AsyncClient
) -> None:
    answer = LiveAnswer()
    loop.run(fill(answer, api, body("Write code")))
    assert answer.decision is not None
    assert answer.decision.expert == "coder"
    assert answer.text.startswith("Here is **an")
    assert (answer.state, answer.finish_reason, answer.completion_tokens) == (AnswerState.DONE, "stop", 12)


def test_silence_ends_an_answer_and_keeps_its_text(loop: BackgroundLoop) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        writer.write(head + b'data: {"choices": [{"delta": {"content": "So far"}}]}\n\n')
        await writer.drain()
        await reader.read()
        writer.close()

    async def scene() -> LiveAnswer:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = ConsoleSettings(api_url=f"http://127.0.0.1:{port}", console_idle_s=0.2)
            answer = LiveAnswer()
            async with settings.client() as api:
                await fill(answer, api, body("Hello"))
            return answer

    answer = loop.run(scene())
    assert (answer.text, answer.state) == ("So far", AnswerState.FAILED)
    assert isinstance(answer.error, ApiTimeout)


def test_stopping_closes_the_connection(loop: BackgroundLoop, api: AsyncClient, server: Running) -> None:
    answer = LiveAnswer()
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
    assert (answer.state, answer.text) == (AnswerState.STOPPED, said)


@pytest.mark.parametrize("url", ["http://host:8000/v1", "http://host:8000/", "http://host:8000"])
def test_the_address_may_be_written_as_clients_write_it(url: str) -> None:
    assert ConsoleSettings(api_url=url).client().base == "http://host:8000/v1"
