"""OpenAI's embeddings: texts in, one vector each out. No dialect of chats: what texts say routes nothing.

https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, field_validator
from pydantic_core import PydanticCustomError

from base.usage import TokenUsage

Format = Literal["float", "base64"]

_BYTES = np.dtype("<f4")
"""What base64 holds: float32, the low byte first."""


class EmbeddingsBody(BaseModel):
    """The fields of a request for embeddings that are read here; an expert gets the others too."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    model: Annotated[StrictStr, Field(max_length=256)]
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Format | None = None
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    user: StrictStr | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _text_or_tokens(cls, given: Any) -> Any:
        if isinstance(given, str):
            return given
        if not isinstance(given, list) or not given:
            raise PydanticCustomError("input", "must be a text, or a list of texts or of tokens")
        of_one_kind = (
            all(isinstance(each, str) for each in given)
            or _are_tokens(given)
            or all(isinstance(each, list) and each and _are_tokens(each) for each in given)
        )
        if not of_one_kind:
            raise PydanticCustomError("input", "must be a list of texts, or of tokens, and of one kind")
        return given

    @property
    def texts(self) -> list[str] | None:
        """The texts; None for tokens."""
        if isinstance(self.input, str):
            return [self.input]
        return [each for each in self.input if isinstance(each, str)] or None

    @property
    def inputs(self) -> int:
        """How many vectors are asked for."""
        one = isinstance(self.input, str) or isinstance(self.input[0], int)
        return 1 if one else len(self.input)


def _are_tokens(given: list[Any]) -> bool:
    return all(isinstance(each, int) and not isinstance(each, bool) for each in given)


def embedding_list(model: str, vectors: Iterable[Any], tokens: int, form: Format) -> dict[str, Any]:
    """The response for `vectors`, rows of float32, of texts of `tokens` tokens in all."""
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(np.asarray(row, dtype=_BYTES), form)}
        for index, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def in_format(answer: Mapping[str, Any], form: Format) -> dict[str, Any]:
    """A server's response with every vector in the format that was asked for: not all know base64, or know
    nothing else. Raises ValueError for what is no vector."""
    data = [
        {"object": "embedding", "index": index, **each, "embedding": _as(each["embedding"], form)}
        for index, each in enumerate(answer["data"])
    ]
    told = answer.get("usage")
    total = told.get("total_tokens") if isinstance(told, Mapping) else None
    # The dialect has no way to say that nobody counted.
    tokens = TokenUsage.of(told).prompt or TokenUsage.of({"prompt_tokens": total}).prompt or 0
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": answer["model"], "usage": counts}


def _as(vector: list[Any] | str, form: Format) -> list[float] | str:
    if isinstance(vector, str) is (form == "base64"):
        return vector
    if isinstance(vector, str):
        return _encoded(np.frombuffer(base64.b64decode(vector, validate=True), dtype=_BYTES), form)
    return _encoded(np.asarray(vector, dtype=_BYTES), form)


def _encoded(vector: Any, form: Format) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.tobytes()).decode("ascii")
    return [float(each) for each in vector]
