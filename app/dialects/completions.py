"""OpenAI's older text completions: a prompt in, text out. Experts are asked as in a chat, where the prompt is
what the user says, unless their servers have completions themselves.

https://platform.openai.com/docs/api-reference/completions
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator
from pydantic_core import PydanticCustomError

from app.dialects.chat_completions import ChatPresenter
from app.dialects.dialect import Dialect, Document, Translation, needs_native_server
from app.serving.chat_body import ChatRequest
from experts.expert_replies import StreamEvent

PROMPTS = 64
"""Prompts in one request."""
MAX_TOKENS = 16
"""Of the answer, when a request sets no limit: the API's own default."""

_LEFT_OUT = frozenset(
    {"prompt", "echo", "suffix", "best_of", "logprobs", "max_tokens"}
    | {"tools", "tool_choice", "functions", "function_call"}
)
"""Fields that chat completions have not, or have in another form; and those of tools, whose calls a text
completion has no place for."""
_FINISH = {"stop", "length", "content_filter"}


class CompletionsBody(BaseModel):
    """The fields of a completion request that are read here; others are passed on."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    prompt: str | list[str]
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    best_of: Annotated[StrictInt, Field(ge=1)] | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    echo: StrictBool | None = None
    suffix: StrictStr | None = None
    stream: StrictBool | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _text(cls, prompt: Any) -> Any:
        if isinstance(prompt, str):
            return prompt
        if not isinstance(prompt, list) or not prompt:
            raise PydanticCustomError("prompt", "must be a string or a list of strings")
        if len(prompt) > PROMPTS:
            raise PydanticCustomError("prompt", "must have at most {most} prompts", {"most": PROMPTS})
        if any(isinstance(each, int | list) for each in prompt):
            raise PydanticCustomError(
                "prompt", "must be text: the router cannot read tokens, and each expert has its own"
            )
        return prompt


def prompts_of(document: Mapping[str, Any]) -> list[str]:
    """The prompts of a checked request."""
    prompt = document["prompt"]
    return [prompt] if isinstance(prompt, str) else list(prompt)


def _native_field(document: Mapping[str, Any]) -> str | None:
    """The field that only a server with completions of its own can honour, None when there is none."""
    if document.get("suffix"):
        return "suffix"
    if document.get("echo") and document.get("logprobs") is not None:
        return "echo"
    if document.get("max_tokens") == 0:
        return "max_tokens"
    best_of = document.get("best_of")
    return "best_of" if best_of is not None and best_of != (document.get("n") or 1) else None


def to_chat(document: Mapping[str, Any]) -> Translation:
    """Of several prompts the longest is translated, by which all are routed."""
    chat = {name: value for name, value in document.items() if name not in _LEFT_OUT}
    chat["messages"] = [{"role": "user", "content": max(prompts_of(document), key=len)}]
    limit = document.get("max_tokens")
    chat["max_tokens"] = MAX_TOKENS if limit is None else max(1, limit)
    if (logprobs := document.get("logprobs")) is not None:
        chat |= {"logprobs": True, "top_logprobs": logprobs}
    field = _native_field(document)
    return Translation(chat, None if field is None else needs_native_server("completions", field))


class CompletionsPresenter(ChatPresenter):
    """Shows a chat completion as a text completion. Reasoning and tool calls have no place in it."""

    def __init__(self, chat: ChatRequest) -> None:
        super().__init__(chat)
        native = chat.native or {}
        self._echo = native["prompt"] if native.get("echo") and isinstance(native.get("prompt"), str) else ""
        self._length: dict[int, int] = {}
        """Characters of each choice so far."""

    def whole(self, answer: Document, routing: Document) -> Document:
        return super().whole(self._document(answer, "message"), routing)

    def _show(self, event: StreamEvent, chunk: Document, shown: list[StreamEvent]) -> None:
        document = self._document(chunk, "delta")
        super()._show(StreamEvent.of(document), document, shown)

    def _document(self, answer: Document, part: str) -> Document:
        choices = [self._choice(each, part) for each in answer.get("choices") or ()]
        shown = {**answer, "object": "text_completion", "choices": [each for each in choices if each]}
        shown.pop("service_tier", None)
        return shown

    def _choice(self, choice: Mapping[str, Any], part: str) -> Document | None:
        """A choice; None for a chunk's that says nothing."""
        index, finish = choice.get("index", 0), choice.get("finish_reason")
        said = (choice.get(part) or {}).get("content")
        begun = index in self._length
        text = ("" if begun else self._echo) + (said if isinstance(said, str) else "")
        if part == "delta" and not text and not finish:
            return None
        offset = self._length.get(index, len(self._echo))
        self._length[index] = self._length.get(index, 0) + len(text)
        if finish is not None and finish not in _FINISH:
            finish = "stop"
        return {
            "index": index,
            "text": text,
            "logprobs": _logprobs(choice.get("logprobs"), offset),
            "finish_reason": finish,
        }


def _logprobs(said: Any, offset: int) -> Document | None:
    """Chat's log-probabilities in the older form: parallel lists. `offset`: of the first token's text."""
    tokens = said.get("content") if isinstance(said, Mapping) else None
    if not tokens:
        return None
    offsets = []
    for each in tokens:
        offsets.append(offset)
        offset += len(each["token"])
    return {
        "tokens": [each["token"] for each in tokens],
        "token_logprobs": [each["logprob"] for each in tokens],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in each.get("top_logprobs") or ()} for each in tokens
        ],
        "text_offset": offsets,
    }


COMPLETIONS = Dialect("completions", CompletionsBody, to_chat, CompletionsPresenter, ChatPresenter)
