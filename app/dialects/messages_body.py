"""What the service reads of a request to Anthropic's Messages API; fields that it does not know pass."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator
from pydantic_core import PydanticCustomError

Number = Annotated[float, Field(strict=True)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)


class TurnBody(_Lenient):
    """One message: a string, or content blocks."""

    role: Literal["user", "assistant", "system"]
    content: Any

    @field_validator("content")
    @classmethod
    def _text_or_blocks(cls, content: Any) -> Any:
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not all(
            isinstance(block, dict) and isinstance(block.get("type"), str) for block in content
        ):
            raise PydanticCustomError(
                "content", "must be a string or a list of content blocks, each with a type"
            )
        return content


class TokenCountBody(_Lenient):
    """The body of `/v1/messages/count_tokens`."""

    model: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    messages: Annotated[list[TurnBody], Field(min_length=1)]
    system: Any = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("system")
    @classmethod
    def _text_or_text_blocks(cls, system: Any) -> Any:
        if system is None or isinstance(system, str | list):
            return system
        raise PydanticCustomError("system", "must be a string or a list of text blocks")


class MessagesBody(TokenCountBody):
    """The body of `/v1/messages`."""

    max_tokens: Annotated[StrictInt, Field(ge=1)]
    stream: StrictBool | None = None
    stop_sequences: list[StrictStr] | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
