"""The trace of a strategy: its calls, notes and graph. Never text of prompts or answers."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from app.serving.request_context import NOTHING_USED, PromptUse
from base.usage import TokenUsage, known_sum

UNKNOWN = TokenUsage()

Status = Literal["running", "ok", "failed", "cancelled", "refused"]
"""`refused`: not made because of a limit."""

CALL_FIELDS = (
    "expert",
    "purpose",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
)
"""What `usage.calls` says of each call."""

START, END = "__start__", "__end__"


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph's nodes, and its edges as (from, to, label)."""

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]

    def document(self) -> dict[str, Any]:
        return {"nodes": list(self.nodes), "edges": [list(edge) for edge in self.edges]}


@dataclass(slots=True)
class Step:
    """One call to one expert. Times in seconds from the strategy's start."""

    node: str
    expert: str
    purpose: str
    started_s: float
    status: Status = "running"
    seconds: float | None = None
    first_token_s: float | None = None
    reported: TokenUsage = UNKNOWN
    """Tokens as the expert's server told them."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """These two are estimates where the server told nothing."""
    estimated: bool = False
    """Whether the tokens are an estimate: a stopped answer reports none."""
    cost: float | None = None
    """US dollars; None when a price is unknown."""
    active_params_b: float = 0.0
    confidence: float | None = None
    detail: str = ""
    used: PromptUse = NOTHING_USED
    """What was put in front."""

    def document(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "expert": self.expert,
            "purpose": self.purpose,
            "status": self.status,
            "started_ms": _ms(self.started_s),
            "ms": _ms(self.seconds),
            "first_token_ms": _ms(self.first_token_s),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.reported.cached,
            "reasoning_tokens": self.reported.reasoning,
            "estimated": self.estimated,
            "cost": None if self.cost is None else round(self.cost, 8),
            "active_params_b": self.active_params_b,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "detail": self.detail,
            **self.used.document(),
        }


@dataclass(slots=True)
class Trace:
    """Everything one strategy did for one request."""

    strategy: str
    shape: Shape
    limits: Mapping[str, float | None]
    started: float = field(default_factory=time.perf_counter)
    steps: list[Step] = field(default_factory=list)
    visited: list[tuple[int, str]] = field(default_factory=list)
    """(superstep, node) in the order of entering."""
    notes: list[str] = field(default_factory=list)
    """Decisions on the way, in sentences."""
    degraded: list[str] = field(default_factory=list)
    """Deviations from the strategy (failures, limits), in sentences."""
    values: dict[str, Any] = field(default_factory=dict)
    """Numbers of the strategy's own: thresholds, probabilities, votes."""
    ended_s: float | None = None

    @property
    def now_s(self) -> float:
        return time.perf_counter() - self.started

    def begin(self, node: str, expert: str, purpose: str, active_params_b: float) -> Step:
        step = Step(node, expert, purpose, self.now_s, active_params_b=active_params_b)
        self.steps.append(step)
        return step

    def degrade(self, sentence: str) -> None:
        if sentence not in self.degraded:
            self.degraded.append(sentence)

    def usage(self) -> dict[str, Any]:
        """A chat completion's usage summed over the calls, and each of them under `calls`. What no server
        told of cached and reasoning tokens is left out."""
        made = [step for step in self.steps if step.status != "refused"]
        summed = TokenUsage(
            sum(step.prompt_tokens for step in made),
            sum(step.completion_tokens for step in made),
            known_sum(step.reported.cached for step in made),
            known_sum(step.reported.reasoning for step in made),
        )
        documents = (step.document() for step in made)
        calls = [{name: document[name] for name in CALL_FIELDS} for document in documents]
        return {**(summed.document() or {}), "calls": calls}

    def path(self) -> list[list[str]]:
        """The edges that were taken, as [from, to]. A node of one superstep leads to those of the next."""
        by_step: dict[int, list[str]] = {}
        for superstep, node in self.visited:
            names = by_step.setdefault(superstep, [])
            if node not in names:
                names.append(node)
        if not by_step:
            return []
        rows = [[START], *(by_step[each] for each in sorted(by_step))]
        if self.ended_s is not None:
            rows.append([END])
        possible = {(source, target) for source, target, _ in self.shape.edges}
        taken: list[list[str]] = []
        for row, following in pairwise(rows):
            for edge in [[source, target] for source in row for target in following]:
                if (edge[0], edge[1]) in possible and edge not in taken:
                    taken.append(edge)
        return taken

    @property
    def cost(self) -> float | None:
        """$ of all calls; None when that of one is unknown."""
        costs = [step.cost for step in self.steps if step.status != "refused"]
        known = [cost for cost in costs if cost is not None]
        return round(sum(known), 8) if len(known) == len(costs) else None

    def document(self) -> dict[str, Any]:
        """The `trace` of a decision."""
        made = [step for step in self.steps if step.status != "refused"]
        return {
            "strategy": self.strategy,
            "steps": [step.document() for step in self.steps],
            "notes": list(self.notes),
            "degraded": list(self.degraded),
            "values": dict(self.values),
            "totals": {
                "calls": len(made),
                "prompt_tokens": sum(step.prompt_tokens for step in made),
                "completion_tokens": sum(step.completion_tokens for step in made),
                "ms": _ms(self.now_s if self.ended_s is None else self.ended_s),
                "cost": self.cost,
                "active_params_b": round(sum(step.active_params_b for step in made), 4),
            },
            "limits": dict(self.limits),
            "graph": {**self.shape.document(), "path": self.path()},
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
