"""What is known of one request when experts are asked, and what was put in front of it for each of them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from prompts.identities import Per
from prompts.templates import PromptOrigin
from routers.request import Turn, Vector

Dropped = Literal["demos", "prompt"]


@dataclass(frozen=True, slots=True)
class MixtureUse:
    """Which region of a mixture a request fell into. `distance` is the Euclidean one to the nearest
    centroid; `fallback` says that this was too far, so that no region's prompt was taken. `nearest` has the
    demos that were picked for this request, by their places in the mixture's pool. `dropped` says what did
    not fit the expert's context: the demos, or the whole prompt."""

    name: str
    digest: str
    region: int | None
    distance: float
    fallback: bool
    nearest: tuple[int, ...] = ()
    dropped: Dropped | None = None


@dataclass(frozen=True, slots=True)
class IdentityUse:
    """An identity in front of a request, or why there was none (`skipped`). `calls` and what they cost
    are those of writing it: 0 when it was read from a file. `hash` is of its text."""

    per: Per
    category: str | None
    hash: str | None = None
    skipped: Literal["no_category", "not_kept", "not_written", "too_long"] | None = None
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptUse:
    """What was put in front of one request for one expert."""

    prompt: PromptOrigin | None = None
    mixture: MixtureUse | None = None
    identity: IdentityUse | None = None

    def document(self) -> dict[str, Any]:
        """The fields of a decision document."""
        return {
            "prompt": None if self.prompt is None else asdict(self.prompt),
            "mixture": None if self.mixture is None else asdict(self.mixture),
            "identity": None if self.identity is None else asdict(self.identity),
        }


NOTHING_USED = PromptUse()


@dataclass(slots=True)
class RequestContext:
    """What is known of one request when experts are asked: its turns, the embedding if routing made one
    (filled in when somebody needs it), its category, the id that experts are told. `used` is by expert, the
    latest one."""

    turns: tuple[Turn, ...] = ()
    embedding: Vector | None = None
    category: str | None = None
    request_id: str | None = None
    used: dict[str, PromptUse] = field(default_factory=dict)

    def fresh(self, request_id: str | None = None) -> "RequestContext":
        """The same request, for whoever asks about it anew, perhaps under another id."""
        return RequestContext(self.turns, self.embedding, self.category, request_id or self.request_id)

    def use_of(self, expert: str) -> PromptUse:
        """What was put in front for `expert`: nothing before it was asked."""
        return self.used.get(expert, NOTHING_USED)
