"""A chat request as the router sees it: text and metadata, independent of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from base.token_count import TokenCount

Vector = npt.NDArray[np.float32]
"""A 1-d float32 array; embeddings have unit length."""
Matrix = npt.NDArray[np.float32]
"""A 2-d float32 array, one row an item."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Capability(StrEnum):
    """What a request can need from an expert beyond plain chat."""

    TOOLS = "tools"
    VISION = "vision"
    AUDIO = "audio"
    VIDEO = "video"
    FILES = "files"
    """Documents that are no plain text, such as PDF."""
    JSON_SCHEMA = "json_schema"
    EMBEDDINGS = "embeddings"


Hold = Literal["tool_call", "provider_state"]
"""What ties a conversation to its expert: a tool call that it made and that is open, so that nobody else may
answer; or state that only it can read, which a change of subject gives up."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One chat message, its parts joined to text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """Everything about one request that may change its decision.

    `prompt_tokens` is an estimate, or the count of the conversation's current expert; `prompt_counts` are the
    experts' own, by name; `output_tokens` are the fewest that must be left for an answer. `features`
    (`routers.features`) may be absent when nothing has to be classified. `attributes` are matched by
    operators' rules: lower-case header names and `api_key` labels.

    `current_expert` has the conversation, and was sure of `current_category` when it last answered;
    `prefix_share` is the share of the prompt that it has read already, 0..1 (0: its prefix cache is gone);
    `hold` ties the conversation to it.
    """

    id: str
    turns: tuple[Turn, ...]
    features: Vector | None = None
    prompt_tokens: int = 0
    prompt_counts: Mapping[str, TokenCount] = field(default_factory=lambda: NOTHING)
    output_tokens: int = 0
    needs: frozenset[Capability] = frozenset()
    pinned_expert: str | None = None
    pinned_category: str | None = None
    exclude: frozenset[str] = frozenset()
    boost: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    strategy: str | None = None
    current_expert: str | None = None
    current_category: str | None = None
    prefix_share: float = 1.0
    hold: Hold | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def prompt_count(self, expert: str) -> TokenCount:
        """The prompt's tokens for `expert`; those of `prompt_tokens` where nobody counted for it."""
        return self.prompt_counts.get(expert) or TokenCount.counted(self.prompt_tokens)
