"""A request of the Responses API: what of it is checked, and the same request as a chat completion request.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from app.dialects.dialect import Translation
from app.dialects.responses_items import chat_messages
from app.dialects.responses_tools import Tools, read_tool_choice, read_tools
from app.errors import ServiceError

LOGPROBS = "message.output_text.logprobs"
SAME_IN_CHAT = (
    *("model", "stream", "temperature", "top_p", "parallel_tool_calls"),
    *("user", "safety_identifier", "prompt_cache_key", "service_tier", "routing"),
)
"""Fields that chat completions have under the same name."""
NOT_PASSED_ON = frozenset(
    {
        *(
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "text",
            "reasoning",
            "max_output_tokens",
            "include",
        ),
        *("top_logprobs", "previous_response_id", "store", "metadata", "truncation", "stream_options"),
        *("background", "conversation", "prompt", "max_tool_calls", "prompt_cache_retention"),
        *("prompt_cache_options", "context_management", "moderation", "client_metadata", "n", "messages"),
    }
)
"""Fields that are translated, answered here, or of no use to an expert. Unknown ones are passed on."""


class ResponsesBody(BaseModel):
    """The fields of a request that are read; others pass."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    model: StrictStr | None = None
    input: StrictStr | Annotated[list[dict[str, Any]], Field(min_length=1)]
    instructions: StrictStr | None = None
    previous_response_id: Annotated[StrictStr, Field(max_length=256)] | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: dict[str, Any] | None = None
    include: list[StrictStr] | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: StrictBool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, StrictStr] | None = None
    routing: dict[str, Any] | None = None


class InputTokensBody(ResponsesBody):
    """The same for counting its tokens: instructions alone will do."""

    input: StrictStr | list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """What a response shows of its request, and needs to know of it."""

    document: Mapping[str, Any]
    tools: Tools
    previous: str | None = None
    """The client's `previous_response_id`; its items are in the document already."""

    @property
    def wants_encrypted_reasoning(self) -> bool:
        """Whether the client sends back nothing of reasoning but its `encrypted_content`."""
        return "reasoning.encrypted_content" in (self.document.get("include") or ())

    @property
    def ignored(self) -> list[str]:
        """What of the request is left out for want of a counterpart."""
        left_out = list(self.tools.ignored)
        if self.document.get("truncation") == "auto":
            left_out.append("truncation")
        return left_out


def responses_request(document: Mapping[str, Any], previous: str | None = None) -> ResponsesRequest:
    """Raises ServiceError (400)."""
    return ResponsesRequest(document, read_tools(document.get("tools") or ()), previous)


def translate(document: Mapping[str, Any]) -> Translation:
    """`input` holds every item of the conversation, those of previous responses first. Raises ServiceError
    (400) for what no server can do."""
    _refuse_unsupported(document)
    tools = read_tools(document.get("tools") or ())
    choice, functions = read_tool_choice(document.get("tool_choice"), tools)
    chat = {
        name: value
        for name, value in document.items()
        if name not in NOT_PASSED_ON and name not in SAME_IN_CHAT
    }
    chat |= {name: document[name] for name in SAME_IN_CHAT if document.get(name) is not None}
    chat["messages"], native_only = chat_messages(document["input"], document.get("instructions"))
    if functions:
        chat["tools"] = list(functions)
        if choice is not None:
            chat["tool_choice"] = choice
    else:
        chat.pop("parallel_tool_calls", None)
    if document.get("max_output_tokens") is not None:
        chat["max_tokens"] = document["max_output_tokens"]
    effort = (document.get("reasoning") or {}).get("effort")
    if not isinstance(effort, str | None):
        raise _invalid("reasoning.effort", "must be text")
    if effort is not None:
        chat["reasoning_effort"] = effort
    if LOGPROBS in (document.get("include") or ()):
        chat |= {"logprobs": True, "top_logprobs": document.get("top_logprobs") or 0}
    return Translation(chat | _text(document.get("text") or {}), tools.native_only or native_only)


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        found["verbosity"] = text["verbosity"]
    form = text.get("format")
    if form is None:
        return found
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_schema":
        for name, expected in (("name", str), ("schema", Mapping)):
            if not isinstance(form.get(name), expected):
                raise ServiceError(
                    400,
                    "missing_required_parameter",
                    f"text.format.{name}: is required.",
                    param=f"text.format.{name}",
                )
        if not isinstance(form.get("strict"), bool | None):
            raise _invalid("text.format.strict", "must be true or false")
        if not isinstance(form.get("description"), str | None):
            raise _invalid("text.format.description", "must be text")
        fields = ("name", "schema", "strict", "description")
        schema = {name: form[name] for name in fields if form.get(name) is not None}
        return {**found, "response_format": {"type": "json_schema", "json_schema": schema}}
    if kind == "json_object":
        return {**found, "response_format": {"type": "json_object"}}
    if kind != "text":
        raise ServiceError(
            400,
            "invalid_value",
            "text.format.type: must be text, json_object or json_schema.",
            param="text.format",
        )
    return found


def _invalid(where: str, message: str) -> ServiceError:
    return ServiceError(400, "invalid_value", f"{where}: {message}.", param=where)


def _refuse_unsupported(document: Mapping[str, Any]) -> None:
    for name, instead in (
        ("background", "Ask without it; with `stream` the answer comes as it is written."),
        ("conversation", "Send previous_response_id, or the whole input."),
        ("prompt", "Send the prompt's text as instructions and input."),
    ):
        if document.get(name):
            message = f"{name}: is not supported by this service. {instead}"
            raise ServiceError(400, "unsupported_parameter", message, param=name)
