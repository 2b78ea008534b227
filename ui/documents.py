"""The API's JSON as the console reads it.

Only what is shown is named; fields that a newer API adds are ignored, and what an older one leaves
out has a default, so that the console and the API can be upgraded one after the other.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CategoryProbability(Document):
    category: str
    probability: float


class RankedExpert(Document):
    """One line of a decision's ranking. `value` = utility + correction + boost - costs."""

    expert: str
    utility: float = 0.0
    correction: float = 0.0
    value: float = 0.0
    active_params_b: float = 0.0
    price: float = 0.0
    excluded: str | None = None

    @property
    def cost(self) -> float:
        """What was taken off for parameters, price and leaving the current expert (a boost adds)."""
        return self.utility + self.correction - self.value


class TraceStep(Document):
    """One call that a strategy made. Times in milliseconds, `cost` in US dollars."""

    node: str
    expert: str
    purpose: str = ""
    status: str = ""
    started_ms: float | None = None
    ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    confidence: float | None = None
    cost: float = 0.0
    detail: str = ""


class TraceGraph(Document):
    """A strategy's graph: edges as (from, to, label), the path that was taken as (from, to)."""

    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[str, str, str], ...] = ()
    path: tuple[tuple[str, str], ...] = ()


class StrategyTrace(Document):
    """What a strategy of several experts did for one request."""

    strategy: str = ""
    steps: tuple[TraceStep, ...] = ()
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    totals: dict[str, Any] = Field(default_factory=dict)
    graph: TraceGraph = TraceGraph()


class Feedback(Document):
    rating: int | None = None
    score: float | None = None
    comment: str | None = None
    created_at: datetime | None = None


class Prompt(Document):
    """A prompt of the library."""

    name: str
    version: int = 0
    hash: str = ""


class Mixture(Document):
    """Where in a mixture of prompts a request fell."""

    name: str
    digest: str = ""
    region: int | None = None
    distance: float | None = None
    fallback: bool = False
    nearest: tuple[int, ...] = ()
    dropped: str | None = None


class Identity(Document):
    """An expert identity, or why there was none, and what writing it cost."""

    per: str = "category"
    category: str | None = None
    skipped: str | None = None
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ms: float = 0.0


class Decision(Document):
    """Which expert answered, and why. The same document everywhere in the API."""

    id: str
    expert: str
    reason: str
    composition: str = ""
    classification: str = "classified"
    category: str | None = None
    probability: float | None = None
    runners_up: tuple[CategoryProbability, ...] = ()
    ood_score: float | None = None
    ranking: tuple[RankedExpert, ...] = ()
    strategy: str = "single"
    strategy_source: str = "default"
    strategy_detail: str = ""
    trace: StrategyTrace | None = None
    detail: str = ""
    spilled_from: str | None = None
    prompt: Prompt | None = None
    mixture: Mixture | None = None
    identity: Identity | None = None


class DecisionRecord(Decision):
    """A decision as `/v1/decisions` keeps it, with what became of the request. Times in milliseconds."""

    created_at: datetime | None = None
    request_id: str | None = None
    model: str | None = None
    stream: bool | None = None
    status: int | str | None = None
    latency_ms: float | None = None
    first_byte_ms: float | None = None
    usage: dict[str, Any] | None = None
    error_code: str | None = None
    feedback: tuple[Feedback, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_null_lists(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("feedback") is None:
            return {**data, "feedback": ()}
        return data


class Health(Document):
    state: str = "unknown"
    detail: str | None = None


class ExpertCard(Document):
    name: str
    params_b: float | None = None
    active_params_b: float | None = None
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
    price: Any = None
    description: str | None = None
    base: str | None = None
    health: Health = Health()


class CategoryCard(Document):
    name: str
    title: str = ""
    definition: str = ""


class Composition(Document):
    """Categories, the expert each is mapped to, and the utilities behind the map."""

    digest: str = ""
    categories: tuple[CategoryCard, ...] = ()
    map: dict[str, str] = Field(default_factory=dict)
    utilities: dict[str, dict[str, float]] = Field(default_factory=dict)
    policy: dict[str, Any] = Field(default_factory=dict)
    manifest: dict[str, Any] = Field(default_factory=dict)

    def title_of(self, category: str) -> str:
        """How people read a category's name."""
        return next((card.title for card in self.categories if card.name == category), "") or readable(
            category
        )


SPELLED = {"smalltalk": "Small talk", "stem": "STEM", "math": "Mathematics"}
"""Names that cannot be read off their spelling."""


def readable(name: str) -> str:
    """A name as people write it: `open_questions` is Open questions."""
    return SPELLED.get(name) or name.replace("_", " ").replace("-", " ").capitalize()
