"""The running API as commands see it: its answers, and its errors as messages."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CONNECT_S = 3.0
LINE_BYTES = 4 * 2**20


class ApiUnreachable(Exception):
    """Nothing answers at the API's address."""


class ApiRefused(Exception):
    """The API answered with an error; the message is the API's own."""


class ApiClient:
    """`async with ApiClient(url) as api`. The key comes from COTERIE_API_KEY."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._session: ClientSession | None = None

    async def __aenter__(self) -> "ApiClient":
        import aiohttp

        key = os.environ.get("COTERIE_API_KEY")
        self._session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            read_bufsize=LINE_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """The JSON at `path`. Raises ApiUnreachable, ApiRefused."""
        async with self._asked("GET", path, None) as response:
            return await response.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer to `body`. Raises ApiUnreachable, ApiRefused."""
        async with self._asked("POST", path, body) as response:
            return await response.json()

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The JSON of each event of a stream. Raises ApiUnreachable, ApiRefused, also in the middle."""
        async with self._asked("POST", path, body) as response:
            async for line in response.content:
                if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                    continue
                event = json.loads(line[6:])
                if event.get("error"):
                    raise ApiRefused(_message(event, 200))
                yield event

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator["ClientResponse"]:
        import aiohttp
        from aiohttp.http_exceptions import LineTooLong

        if self._session is None:
            raise RuntimeError("use `async with ApiClient(...)`")
        try:
            async with self._session.request(method, self.url + path, json=body) as response:
                if response.status >= 400:
                    try:
                        document = await response.json(content_type=None)
                    except ValueError:
                        document = None
                    raise ApiRefused(_message(document, response.status))
                yield response
        except aiohttp.ClientConnectorError:
            raise ApiUnreachable(f"nothing answers at {self.url}: start it with `coterie up`") from None
        except (ValueError, LineTooLong) as error:
            raise ApiRefused(f"{self.url} sent what is not an answer ({type(error).__name__})") from None
        except aiohttp.ClientError as error:
            raise ApiUnreachable(f"{self.url} broke off ({type(error).__name__})") from None


def _message(document: Any, status: int) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return f"{error['message']} [{error.get('code') or status}]"
    return f"the API answered with HTTP {status}"
