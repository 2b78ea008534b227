"""What is known of a request when experts are asked, and what was put in front of it for each expert."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from app.serving.message_chain import MessageChain
from experts.admission import NOBODY, Caller
from experts.expert_replies import ExpertReply, ReplicaUse, ReplyStream, SampleUse
from prompts.identities import Per
from prompts.templates import PromptOrigin
from routers.request import Turn, Vector

if TYPE_CHECKING:
    from routers.strategies.fitted_strategies import FittedStrategies

Dropped = Literal["demos", "prompt"]


@dataclass(frozen=True, slots=True)
class MixtureUse:
    """The region of a mixture that a request fell into. `distance`: Euclidean, to the nearest centroid;
    `fallback`: it was too far, so no region's prompt was used. `nearest`: indices in the mixture's pool of
    the demos picked for this request. `dropped`: what did not fit the expert's context."""

    name: str
    digest: str
    region: int | None
    distance: float
    fallback: bool
    nearest: tuple[int, ...] = ()
    dropped: Dropped | None = None


@dataclass(frozen=True, slots=True)
class IdentityUse:
    """The identity in front of a request, or why there was none (`skipped`). `calls`, tokens and `ms` are
    those of writing it: 0 when it was read from a file. `hash` is of its text."""

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
    """What was put in front of one request for one expert, the samples that it answered from, and its
    server."""

    prompt: PromptOrigin | None = None
    mixture: MixtureUse | None = None
    identity: IdentityUse | None = None
    samples: SampleUse | None = None
    replica: ReplicaUse | None = None

    def document(self) -> dict[str, Any]:
        """The fields of a decision document."""
        return {
            "prompt": None if self.prompt is None else asdict(self.prompt),
            "mixture": None if self.mixture is None else asdict(self.mixture),
            "identity": None if self.identity is None else asdict(self.identity),
            "samples": None if self.samples is None else asdict(self.samples),
            "replica": None if self.replica is None else self.replica.document(),
        }


NOTHING_USED = PromptUse()


@dataclass(slots=True)
class RequestContext:
    """A request as prompting needs it. `embedding` is filled in when it is first needed; `request_id` and
    `client_headers` are sent to experts; `used` records what was put in front, by expert, the latest one;
    `chat` is the request in chat's form, whatever dialect its client speaks. `strategies` are those fitted
    for the composition that decided. `chain` is what its conversation is recognised by; `makers` says whose
    the provider state in it is, where that is known. `dear` are the experts that count against the quota of
    escalations, where there is one. `caller` is what the queues of experts know of who asks."""

    turns: tuple[Turn, ...] = ()
    embedding: Vector | None = None
    category: str | None = None
    request_id: str | None = None
    used: dict[str, PromptUse] = field(default_factory=dict)
    chat: Mapping[str, Any] | None = None
    client_headers: Mapping[str, str] = field(default_factory=dict)
    """Of the client's own dialect, for servers that speak it."""
    strategies: "FittedStrategies | None" = None
    chain: MessageChain | None = None
    makers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    dear: frozenset[str] = frozenset()
    caller: Caller = NOBODY

    def fresh(self, request_id: str | None = None) -> "RequestContext":
        """A copy without `used`, perhaps under another id."""
        return replace(self, request_id=request_id or self.request_id, used={})

    def note_answer(self, expert: str, answer: ExpertReply | ReplyStream) -> None:
        """Keep what `expert` answered from, and where."""
        if answer.samples is not None or answer.replica is not None:
            use = self.use_of(expert)
            self.used[expert] = replace(use, samples=answer.samples, replica=answer.replica)

    def use_of(self, expert: str) -> PromptUse:
        """What was put in front for `expert`: nothing before it was asked."""
        return self.used.get(expert, NOTHING_USED)
