"""The endpoints of the dialects that servers speak, and how their answers are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import SecretStr

from experts.chat_replies import ChunkReader, check_completion
from experts.event_reader import EventReader
from experts.expert import DialectName, Expert
from experts.native_replies import (
    MessagesReader,
    ResponsesReader,
    check_embeddings,
    check_message,
    check_response,
    native_usage,
)

Usage = Callable[[Mapping[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """`path` after the endpoint; `check` a whole answer, which raises `ExpertError` for what is none; `usage`
    of one in chat's form."""

    path: str
    check: Callable[[Expert, Any, SecretStr | None], dict[str, Any]]
    usage: Usage = native_usage


@dataclass(frozen=True, slots=True)
class DialectForm(ReplyForm):
    """`reader` reads a streamed answer."""

    reader: Callable[[Expert, SecretStr | None], EventReader] = ChunkReader


def _own_usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    usage = body.get("usage")
    return usage if isinstance(usage, dict) else None


FORMS: Mapping[DialectName, DialectForm] = {
    "chat": DialectForm("/chat/completions", check_completion, _own_usage),
    "completions": DialectForm(
        "/completions",
        partial(check_completion, kind="completions"),
        _own_usage,
        partial(ChunkReader, kind="completions"),
    ),
    "responses": DialectForm("/responses", check_response, reader=ResponsesReader),
    "messages": DialectForm("/messages", check_message, reader=MessagesReader),
}
EMBEDDINGS = ReplyForm("/embeddings", check_embeddings)
