"""The API's documents: what it sends, as frozen pydantic models.

Fields that a newer API adds are kept beside the known ones, and what an older one leaves out has a
default, so that programs and the API can be upgraded one after the other. What each field means is in
docs/reference/api.md.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

Time = Annotated[datetime, PlainSerializer(datetime.isoformat, when_used="json")]
"""Written as the API writes it."""


class ApiDocument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, data: Any) -> Any:
        if not isinstance(data, dict) or None not in data.values():
            return data
        fields = cls.model_fields
        return {
            name: value
            for name, value in data.items()
            if value is not None or name not in fields or fields[name].default is None
        }

    def document(self) -> dict[str, Any]:
        """The JSON that the API sent, fields unknown to this client included."""
        return self.model_dump(mode="json", exclude_unset=True)


class CategoryShare(ApiDocument):
    """A category and its probability."""

    category: str
    probability: float


class RankedExpert(ApiDocument):
    """One line of a decision's ranking. `value` = utility + correction + boost - costs."""

    expert: str
    utility: float
    correction: float = 0.0
    value: float = 0.0
    active_params_b: float = 0.0
    tokens_in: float | None = None
    """This and the next: tokens that a request like this one is expected to take."""
    tokens_out: float | None = None
    cost: float | None = None
    """$ that it is expected to cost; None when a price is unknown."""
    compute: float | None = None
    """Active parameters times tokens that it is expected to take, in B·tokens."""
    excluded: str | None = None

    @property
    def taken_off(self) -> float:
        """What was taken off for parameters, cost and compute (a boost adds)."""
        return self.utility + self.correction - self.value

    @property
    def expected(self) -> float:
        """The expected score, 0..1."""
        return min(1.0, max(0.0, self.utility + self.correction))


class PromptInfo(ApiDocument):
    """A prompt of the library."""

    name: str
    version: int = 0
    hash: str = ""


class MixtureInfo(ApiDocument):
    """Where in a mixture of prompts a request fell."""

    name: str
    digest: str = ""
    region: int | None = None
    distance: float | None = None
    fallback: bool = False
    nearest: tuple[int, ...] = ()
    dropped: str | None = None


class IdentityInfo(ApiDocument):
    """An expert identity, or why there was none, and what writing it cost."""

    per: str = "category"
    category: str | None = None
    skipped: str | None = None
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ms: float = 0.0


class SampleInfo(ApiDocument):
    """The samples behind an answer; `agreed` is the share of those that came with its final answer."""

    asked: int = 1
    answered: int = 1
    selected: str = ""
    agreed: float | None = None


class TriedReplica(ApiDocument):
    """A server of an expert that failed before another one answered."""

    number: int
    error: str = ""


class ReplicaInfo(ApiDocument):
    """The server of an expert that answered, where it has several: the `number` in the registry's order."""

    id: str = ""
    number: int = 1
    of: int = 1
    tried: tuple[TriedReplica, ...] = ()
    hedged: bool = False


class TraceStep(ApiDocument):
    """One call that a strategy made. Times in milliseconds, `cost` in US dollars."""

    node: str
    expert: str
    purpose: str = ""
    status: str = ""
    started_ms: float | None = None
    ms: float | None = None
    first_token_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    cost: float = 0.0
    active_params_b: float = 0.0
    confidence: float | None = None
    detail: str = ""
    prompt: PromptInfo | None = None
    mixture: MixtureInfo | None = None
    identity: IdentityInfo | None = None
    samples: SampleInfo | None = None
    replica: ReplicaInfo | None = None


class TraceGraph(ApiDocument):
    """A strategy's graph: edges as (from, to, label), the path that was taken as (from, to)."""

    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[str, str, str], ...] = ()
    path: tuple[tuple[str, str], ...] = ()


class StrategyTrace(ApiDocument):
    """What a strategy of several experts did for one request."""

    strategy: str = ""
    steps: tuple[TraceStep, ...] = ()
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    values: dict[str, Any] = Field(default_factory=dict)
    totals: dict[str, Any] = Field(default_factory=dict)
    limits: dict[str, Any] = Field(default_factory=dict)
    graph: TraceGraph = TraceGraph()


class RoutingDecision(ApiDocument):
    """Which expert answered, and why. The same document everywhere in the API."""

    id: str = ""
    composition: str = ""
    classification: str = "classified"
    category: str | None = None
    probability: float | None = None
    runners_up: tuple[CategoryShare, ...] = ()
    ood_score: float | None = None
    ranking: tuple[RankedExpert, ...] = ()
    expert: str
    strategy: str = "single"
    strategy_source: str = "default"
    strategy_detail: str = ""
    trace: StrategyTrace | None = None
    prompt: PromptInfo | None = None
    mixture: MixtureInfo | None = None
    identity: IdentityInfo | None = None
    samples: SampleInfo | None = None
    replica: ReplicaInfo | None = None
    reason: str = ""
    detail: str = ""
    spilled_from: str | None = None
    explored_from: str | None = None
    propensity: float | None = Field(default=None, gt=0, le=1)
    escalated: bool | None = None
    """Whether it counts against its key's quota of escalations; None without a quota."""
    limited_from: str | None = None
    alternative: str | None = None
    """The fixed expert that costs are compared with."""
    expected_cost: float | None = None
    """$ that the request was expected to cost; None when unknown."""
    expected_compute: float | None = None
    """B·tokens that it was expected to take."""
    alternative_cost: float | None = None
    alternative_compute: float | None = None

    @property
    def chosen(self) -> str:
        """The expert that the router chose, before anything was explored."""
        return self.explored_from or self.expert


class FeedbackRecord(ApiDocument):
    """What somebody thought of an answer: a `rating` of -1, 0 or 1, or a `score` in 0..1."""

    id: str = ""
    decision_id: str = ""
    created_at: Time | None = None
    api_key: str | None = None
    rating: int | None = Field(default=None, ge=-1, le=1)
    score: float | None = Field(default=None, ge=0, le=1)
    comment: str | None = None

    @property
    def value(self) -> float | None:
        """0..1; a thumb down is 0, up is 1."""
        if self.score is not None:
            return self.score
        return None if self.rating is None else (self.rating + 1) / 2


class ShadowRecord(ApiDocument):
    """Another expert's answer to the same request, which nobody was shown."""

    id: str = ""
    expert: str
    created_at: Time | None = None
    status: str
    error_code: str | None = None
    latency_ms: float | None = None
    usage: dict[str, Any] | None = None
    tokens: int | None = None
    price: float | None = None
    prompt: PromptInfo | None = None
    mixture: MixtureInfo | None = None
    identity: IdentityInfo | None = None
    samples: SampleInfo | None = None
    replica: ReplicaInfo | None = None
    feedback: tuple[FeedbackRecord, ...] = ()
    answer: str | None = None


class DecisionRecord(RoutingDecision):
    """A decision as `/v1/decisions` keeps it, with what became of the request. Times in milliseconds."""

    created_at: Time | None = None
    request_id: str | None = None
    api_key: str | None = None
    conversation: str | None = None
    model: str | None = None
    stream: bool | None = None
    status: str = "ok"
    http_status: int | None = None
    error_code: str | None = None
    latency_ms: float | None = None
    first_byte_ms: float | None = None
    usage: dict[str, Any] | None = None
    cost: float | None = None
    """$ that all calls did cost; None when unknown."""
    compute: float | None = None
    """B·tokens that they took."""
    repeated_share: float | None = None
    """The share of the prompt that earlier requests of its conversation held, 0..1."""
    feedback: tuple[FeedbackRecord, ...] = ()
    shadows: tuple[ShadowRecord, ...] = ()
    messages: tuple[dict[str, Any], ...] | None = None
    """The request's messages, None where the operator does not keep prompts."""
    answer: str | None = None
    """The answer's text, likewise."""


class HealthInfo(ApiDocument):
    """`state` is `up`, `down`, `starting`, `asleep`, `waking` or `unknown`."""

    state: str = "unknown"
    detail: str | None = None


class ReplicaStateInfo(ApiDocument):
    """A server of an expert that has several. `in_flight` are requests of the service; `running`, `waiting`
    and `kv_usage` (0..1) what the server said last."""

    id: str = ""
    number: int = 1
    usable: bool = True
    ejected: bool = False
    in_flight: int = 0
    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    failure_rate: float = 0.0
    detail: str = ""


class PriceInfo(ApiDocument):
    """US dollars per million tokens, None when unknown; `cached_input`: of what a prefix cache held, None: as
    much as the others."""

    input: float | None = Field(default=None, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    output: float | None = Field(default=None, ge=0)


class ExpertInfo(ApiDocument):
    """An expert of the registry; sizes in billions of parameters, context in tokens."""

    name: str = Field(min_length=1)
    params_b: float | None = Field(default=None, gt=0)
    active_params_b: float | None = Field(default=None, gt=0)
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    price: PriceInfo = PriceInfo()
    description: str = ""
    base: str | None = None
    prompt: dict[str, Any] | None = None
    mixture: dict[str, Any] | None = None
    identity: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    """`sampling`, `select`, the digest of `system_prompt`, `weights`: what its answers depend on beside."""
    health: HealthInfo = HealthInfo()
    residency: dict[str, Any] | None = None
    """Of an expert that takes turns in memory: state, memory in GB, requests that use it and wait for it."""
    replicas: tuple[ReplicaStateInfo, ...] = ()


class CategoryInfo(ApiDocument):
    """A category; `title` is how people read its name. The API may send the name alone."""

    name: str
    title: str = ""
    definition: str = ""

    @model_serializer(mode="wrap")
    def _name_alone(self, whole: SerializerFunctionWrapHandler) -> Any:
        return self.name if self.model_fields_set == {"name"} else whole(self)


class CanaryInfo(ApiDocument):
    """The second composition, which decides a `share` of the conversations."""

    digest: str = ""
    share: float = 0.0
    started_at: Time | None = None


class CompositionInfo(ApiDocument):
    """Categories, the expert each is mapped to, and the utilities behind the map (category → expert)."""

    digest: str = ""
    encoder: dict[str, Any] = Field(default_factory=dict)
    classifier: str = ""
    categories: tuple[CategoryInfo, ...] = ()
    experts: tuple[dict[str, Any], ...] = ()
    """The facts that it was fitted with."""
    policy: dict[str, Any] = Field(default_factory=dict)
    map: dict[str, str] = Field(default_factory=dict)
    utilities: dict[str, dict[str, float]] = Field(default_factory=dict)
    standard_errors: dict[str, dict[str, float]] = Field(default_factory=dict)
    global_utilities: dict[str, float] = Field(default_factory=dict)
    canary: CanaryInfo | None = None
    manifest: dict[str, Any] = Field(default_factory=dict)

    @field_validator("categories", "experts", mode="before")
    @classmethod
    def _names_alone(cls, listed: Any) -> Any:
        return [{"name": each} if isinstance(each, str) else each for each in listed]

    def title_of(self, category: str) -> str:
        """How people read a category's name."""
        titles = (each.title for each in self.categories if each.name == category)
        return next(titles, "") or readable(category)


class ReloadResult(ApiDocument):
    """What reloading the composition changed: digests, and the number of rules."""

    old: str = ""
    new: str = ""
    changed: bool = False
    rules: int = 0
    canary: str | None = None
    """The canary's digest, None when there is none."""
    workers: int = 1
    """The processes that have reloaded: all that serve."""


class Readiness(ApiDocument):
    """Whether requests can be answered: the database, and the state of each expert."""

    status: str
    database: str = ""
    experts: dict[str, str] = Field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.status == "ready"


SPELLED = {"smalltalk": "Small talk", "stem": "STEM", "math": "Mathematics"}
"""Names that cannot be read off their spelling."""


def readable(name: str) -> str:
    """A name as people write it: `open_questions` is Open questions."""
    return SPELLED.get(name) or name.replace("_", " ").replace("-", " ").capitalize()
