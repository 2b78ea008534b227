"""The command line's own client says in a sentence what is wrong with an answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.cli.api import ApiClient, ApiRefused, ApiUnreachable

PATH = "/v1/chat/completions"


@asynccontextmanager
async def serving(body: bytes) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/event-stream")

    application = web.Application()
    application.router.add_post(PATH, answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/"))


async def read_all(url: str) -> None:
    async with ApiClient(url) as client:
        async for _ in client.events(PATH, {"messages": []}):
            pass


@pytest.mark.parametrize(
    "body", [b"data: " + b"x" * 20_000_000, b"data: {not json}\n\n"], ids=["an endless line", "no JSON"]
)
async def test_rubbish_in_a_stream_is_refused_in_a_sentence(body: bytes) -> None:
    async with serving(body) as url:
        with pytest.raises(ApiRefused, match="not an answer"):
            await read_all(url)


async def test_a_closed_port_says_how_to_start_the_service() -> None:
    async with serving(b"") as url:
        pass
    with pytest.raises(ApiUnreachable, match="coterie up"):
        await read_all(url)
