"""The examples of docs/how-to/python-client.md run as they stand there, against a service on fake experts."""

import asyncio
import contextlib
import inspect
import io
import re

import client
from app.settings import PROJECT
from client.calls import Api
from client.exchange import endpoint
from tests.integration.app.world import Api as Service

PAGE = (PROJECT / "docs" / "how-to" / "python-client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(example: str, url: str) -> str:
    """What `example` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.replace("http://127.0.0.1:8000", url), "python-client.md", "exec"), {})
    return printed.getvalue()


async def test_the_examples_run(service: Service) -> None:
    whole, concurrent = EXAMPLES
    printed = await asyncio.to_thread(run, whole, service.url)
    assert "coder matched coding" in printed
    assert re.search(r"^\w+ answers:$", printed, re.MULTILINE)
    assert "stop, " in printed
    printed = await asyncio.to_thread(run, concurrent, service.url)
    assert printed.count(" → ") == 3


def test_every_call_and_every_error_is_on_the_page() -> None:
    calls = [name for name, each in vars(Api).items() if isinstance(each, endpoint)]
    assert len(calls) > 5
    for name in [*calls, "stream_chat", "from_environment"]:
        assert f"{name}(" in PAGE, name
    for name, each in vars(client).items():
        if inspect.isclass(each) and issubclass(each, client.ApiError):
            assert f"`{name}`" in PAGE, name
