"""What a dialect of the API is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from app.errors import ServiceError
from app.serving.chat_body import ChatRequest
from experts.expert import DialectName
from experts.expert_replies import StreamEvent

Document = dict[str, Any]

_API_NAMES: Mapping[DialectName, str] = {
    "chat": "chat completions",
    "completions": "OpenAI's older completions",
    "messages": "Anthropic's Messages API",
    "responses": "OpenAI's Responses API",
}


@dataclass(frozen=True, slots=True)
class Translation:
    """A request as a chat completion request."""

    chat: Mapping[str, Any]
    """With `routing`; the client's document itself where nothing had to be changed."""
    native_only: ServiceError | None = None
    """Set when `chat` leaves something out that only a server can do that speaks the dialect itself: the
    error for the first such thing, which its `param` names, when there is no such server."""


def needs_native_server(
    dialect: DialectName, param: str, why: str = "no expert here has one"
) -> ServiceError:
    """The error for what only a server can do that speaks `dialect` itself; `why` none can be asked."""
    return ServiceError(
        400,
        "unsupported_value",
        f"{param}: this needs a server that speaks {_API_NAMES[dialect]} itself, and {why}.",
        param=param,
    )


class Presenter(Protocol):
    """Shows one answer to the client. Asked once: for `whole`, or for the events in order and then `end` or
    `error`."""

    def whole(self, answer: Document, routing: Document) -> Document:
        """The response for a whole answer, with the decision in `routing`."""
        ...

    def events(self, events: Sequence[StreamEvent], routing: Document | None) -> list[StreamEvent]:
        """The events for what came of the answer, without its end. `routing` is the decision, until the
        first event was returned that has it."""
        ...

    def end(self, routing: Document | None, usage: Document | None) -> list[StreamEvent]:
        """The closing events. `routing`: the decision once more, where it has grown since it was sent (the
        trace of a strategy); `usage`: chat's form, None when nobody counted."""
        ...

    def error(self, error: ServiceError) -> list[StreamEvent]:
        """The last events of an answer that failed after its first byte."""
        ...

    @property
    def response(self) -> Document | None:
        """The whole response, once `whole` or `end` was called; None for dialects that do not keep it."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect. `body` is what of its requests is checked; unknown fields pass."""

    name: DialectName
    body: type[BaseModel]
    to_chat: Callable[[Mapping[str, Any]], Translation]
    """Translates a document that is valid as `body`. Raises ServiceError (400) for what no server can do."""
    presenter: Callable[[ChatRequest], Presenter]
    """For answers that are chat completions."""
    native: Callable[[ChatRequest], Presenter]
    """For answers of servers that speak the dialect themselves: passed on, with our names in them."""
