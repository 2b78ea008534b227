"""The guard of the development endpoints: what vLLM loads, before any ASGI app."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from experts.local.guard import GUARDED
from experts.local.guard.development_guard import KEY, DevelopmentGuard


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def asked(path: str, *keys: bytes, kind: str = "http") -> Any:
    """The status of the answer, or the code that a websocket is closed with."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    headers = [(b"Authorization", key) for key in keys]
    await DevelopmentGuard(app)({"type": kind, "path": path, "headers": headers}, receive, send)
    return sent[0].get("status", sent[0].get("code"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, GUARDED.environment("sesame")[KEY])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/health", "/metrics", "/tokenize"])
async def test_inference_and_health_are_open(path: str) -> None:
    assert await asked(path) == 200


@pytest.mark.parametrize(
    "path",
    ["/sleep", "/wake_up", "/is_sleeping", "/collective_rpc", "/server_info", "/v1", "//sleep", "/new"],
)
async def test_all_others_need_the_key(path: str) -> None:
    assert await asked(path) == 401
    assert await asked(path, b"Bearer wrong") == 401
    assert await asked(path, b"Bearer sesame", b"Bearer wrong") == 401
    assert await asked(path, b"Bearer sesame") == 200


async def test_websockets_need_it_too() -> None:
    assert await asked("/v1/realtime", kind="websocket") == 1008


def test_without_a_key_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    with pytest.raises(RuntimeError, match="is not set"):
        DevelopmentGuard(app)
