"""Decisions and experts as JSON documents: the same everywhere a client can see them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.serving.prompting import NOTHING_USED, PromptUse
from app.storage.rows import DecisionRow, FeedbackRow, ShadowRow
from experts.health import ExpertHealth
from experts.registry import Expert
from routers.decision import Decision

if TYPE_CHECKING:
    from app.serving.strategy_trace import Trace


def decision_document(
    decision: Decision,
    trace: "Trace | None" = None,
    used: PromptUse = NOTHING_USED,
) -> dict[str, Any]:
    """The `routing` of an answer; `trace` is there when several experts were asked, `used` says what was
    put in front of the request for the one that answers."""
    return {
        "id": decision.id,
        "composition": decision.composition,
        "classification": decision.classification.value,
        "category": decision.category,
        "probability": _rounded(decision.probability),
        "runners_up": [
            {"category": each.category, "probability": _rounded(each.probability)}
            for each in decision.runners_up
        ],
        "ood_score": _rounded(decision.ood_score),
        "ranking": [
            {
                "expert": choice.expert,
                "utility": _rounded(choice.utility),
                "correction": _rounded(choice.correction),
                "value": _rounded(choice.value),
                "active_params_b": choice.active_params_b,
                "price": choice.price,
                "excluded": choice.excluded,
            }
            for choice in decision.ranking
        ],
        "expert": decision.expert,
        "strategy": decision.strategy,
        "strategy_source": decision.strategy_source,
        "strategy_detail": decision.strategy_detail,
        "trace": None if trace is None else trace.document(),
        **used.document(),
        "reason": decision.reason.value,
        "detail": decision.detail,
        "spilled_from": decision.spilled_from,
        "explored_from": decision.explored_from,
        "propensity": _rounded(decision.propensity),
    }


def stored_document(
    row: DecisionRow, feedback: Sequence[FeedbackRow] = (), shadows: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """A decision as /v1/decisions shows it: what the answer's `routing` said, and what became of it."""
    document = {
        "object": "decision",
        "id": row.id,
        "composition": row.composition,
        "classification": row.classification,
        "category": row.category,
        "probability": row.probability,
        "runners_up": row.runners_up,
        "ood_score": row.ood_score,
        "ranking": row.ranking,
        "expert": row.expert,
        "strategy": row.strategy,
        "strategy_source": row.strategy_source,
        "strategy_detail": row.strategy_detail,
        "trace": row.trace,
        "prompt": row.prompt,
        "mixture": row.mixture,
        "identity": row.identity,
        "reason": row.reason,
        "detail": row.detail,
        "spilled_from": row.spilled_from,
        "explored_from": row.explored_from,
        "propensity": row.propensity,
        "created_at": row.created_at.isoformat(),
        "request_id": row.request_id,
        "api_key": row.api_key,
        "conversation": row.conversation,
        "model": row.model,
        "stream": row.stream,
        "status": row.status,
        "http_status": row.http_status,
        "error_code": row.error_code,
        "latency_ms": row.latency_ms,
        "first_byte_ms": row.first_byte_ms,
        "usage": row.usage,
        "feedback": [feedback_document(each) for each in feedback],
        "shadows": list(shadows),
    }
    if row.messages is not None:
        document["messages"] = row.messages
    return document


def shadow_document(row: ShadowRow, feedback: Sequence[FeedbackRow] = ()) -> dict[str, Any]:
    """A shadow answer as its decision shows it."""
    document = {
        "object": "shadow",
        "id": row.id,
        "expert": row.expert,
        "created_at": row.created_at.isoformat(),
        "status": row.status,
        "error_code": row.error_code,
        "latency_ms": row.latency_ms,
        "usage": row.usage,
        "tokens": row.tokens,
        "price": row.price,
        "prompt": row.prompt,
        "mixture": row.mixture,
        "identity": row.identity,
        "feedback": [feedback_document(each) for each in feedback],
    }
    if row.answer is not None:
        document["answer"] = row.answer
    return document


def feedback_document(row: FeedbackRow) -> dict[str, Any]:
    return {
        "object": "feedback",
        "id": row.id,
        "decision_id": row.decision_id,
        "created_at": row.created_at.isoformat(),
        "api_key": row.api_key,
        "rating": row.rating,
        "score": row.score,
        "comment": row.comment,
    }


def expert_document(
    expert: Expert, health: ExpertHealth | None, facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An expert as /v1/experts shows it; `health` None when nobody looked, `facts` of its mixture and
    identities (`Prompting.facts`) None when nobody read them."""
    return {
        "name": expert.name,
        "params_b": expert.params_b,
        "active_params_b": expert.active_params_b,
        "context_length": expert.context_length,
        "capabilities": sorted(expert.capabilities),
        "price": {"input": expert.price.input, "output": expert.price.output},
        "description": expert.description,
        "base": expert.base,
        "prompt": None if expert.prompt is None else asdict(expert.prompt),
        "mixture": expert.mixture and {"name": expert.mixture.name, "digest": None},
        "identity": expert.identity and {"per": expert.identity.per, "digest": None, "categories": []},
        **(facts or {}),
        "health": {
            "state": health.state if health else "unknown",
            "detail": health.detail if health else "Nobody looked.",
        },
    }


def decision_headers(decision: Decision) -> dict[str, str]:
    """The decision in `x-coterie-*` headers; header values are ASCII."""
    values = {
        "x-coterie-decision": decision.id,
        "x-coterie-expert": decision.expert,
        "x-coterie-category": decision.category or "",
        "x-coterie-reason": decision.reason.value,
        "x-coterie-strategy": decision.strategy,
    }
    return {name: _ascii(value) for name, value in values.items()}


def _ascii(value: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def _rounded(value: float | None) -> float | None:
    """Six digits: more is noise, and documents are read by people."""
    return None if value is None else round(value, 6)
