"""A chat request as it came: checked where the service reads it, passed on where it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator
from pydantic import model_validator as whole
from pydantic_core import PydanticCustomError

from base.strict_model import StrictModel
from experts.expert import DialectName
from experts.fair_queue import Priority

CONVERSATION_LENGTH = 128
MESSAGES = 10_000
ANTHROPIC_HEADERS = ("anthropic-version", "anthropic-beta")


class _Lenient(BaseModel):
    """Unknown fields are allowed, and passed on to the expert."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)


class ClosedBody(StrictModel):
    """Unknown fields are refused: these bodies are never passed on."""


class Message(_Lenient):
    """One chat message. `content` is text, a list of parts, or absent beside tool calls."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None

    @field_validator("content")
    @classmethod
    def _text_or_parts(cls, content: Any) -> Any:
        if content is None or isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise PydanticCustomError("content", "must be a string or a list of parts")
        for part in content:
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise PydanticCustomError("content", "every part must be an object with a type")
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                raise PydanticCustomError("content", "a text part must have a text")
        return content

    @whole(mode="after")
    def _user_says_something(self) -> "Message":
        if self.role in {"user", "system", "developer"} and self.content is None:
            raise PydanticCustomError("content", "a {role} message needs content", {"role": self.role})
        return self

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The content as parts."""
        if isinstance(self.content, str):
            return [{"type": "text", "text": self.content}]
        return list(self.content or ())

    @property
    def text(self) -> str:
        """The text parts, joined by new lines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part["text"] for part in self.parts if part["type"] == "text")


Name = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class RoutingOptions(ClosedBody):
    """The body's `routing`: how this request is to be routed. Ours, never forwarded."""

    strategy: Name | None = None
    """How many experts answer and how: `single`, `cascade`, `panel`, … or one of the operator's own."""
    options: Annotated[dict[Name, Any], Field(max_length=64)] | None = None
    """The strategy's own options (docs/reference/strategies.md)."""
    expert: Name | None = None
    category: Name | None = None
    exclude: Annotated[list[Name], Field(max_length=256)] = []  # noqa: RUF012 - pydantic copies it
    boost: Annotated[dict[Name, Annotated[float, Field(ge=-10, le=10)]], Field(max_length=256)] = {}  # noqa: RUF012
    conversation: Annotated[StrictStr, Field(pattern=rf"^[!-~]{{1,{CONVERSATION_LENGTH}}}$")] | None = None
    """The client's name for the conversation: its expert is kept while leaving gains too little."""
    priority: Priority = "interactive"
    """`batch` waits for others where an expert has no free place."""
    previous_decision: Name | None = None
    """The decision of the conversation's last answer; instead of, or beside, `conversation`."""

    @whole(mode="after")
    def _options_are_of_a_strategy(self) -> "RoutingOptions":
        if self.options and self.strategy is None:
            raise PydanticCustomError("routing", "options need the strategy that they are for beside them")
        return self


NO_OPTIONS = RoutingOptions()
"""One for all requests: pydantic would copy a plain default deeply for each."""


class ChatBody(_Lenient):
    """The fields of a chat completion request that routing reads."""

    model: Annotated[StrictStr, Field(max_length=256)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES)]
    stream: StrictBool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    functions: list[dict[str, Any]] | None = None
    """The older form of `tools`."""
    function_call: Any = None
    response_format: dict[str, Any] | None = None
    routing: RoutingOptions = Field(default_factory=lambda: NO_OPTIONS)

    @field_validator("routing", mode="before")
    @classmethod
    def _null_is_nothing(cls, routing: Any) -> Any:
        return NO_OPTIONS if routing is None else routing

    @whole(mode="after")
    def _somebody_asks(self) -> "ChatBody":
        if self.routing.expert is not None and self.routing.category is not None:
            raise PydanticCustomError("routing", "routing pins an expert or a category, not both")
        return self


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request in the form of a chat request, parsed once. `document` is the whole body and goes to experts
    as it came; `body` is what of it the service reads."""

    body: ChatBody
    document: Mapping[str, Any]
    request_id: str = ""
    api_key: str | None = None
    """The label of the caller's key."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    started: float = 0.0
    """When it came, on `time.perf_counter()`'s clock."""
    dialect: DialectName = "chat"
    """What the client speaks."""
    native: Mapping[str, Any] | None = None
    """The client's own document, for servers that speak its dialect; None for chat, whose document it is."""
    native_only: bool = False
    """`document` does not say all of `native`: only servers that speak the dialect can be asked."""

    @property
    def dialect_headers(self) -> dict[str, str]:
        """The headers that belong to the client's dialect: Anthropic's version and betas."""
        if self.dialect != "messages":
            return {}
        return {name: self.headers[name] for name in ANTHROPIC_HEADERS if name in self.headers}
