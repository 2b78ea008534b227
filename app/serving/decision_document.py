"""Decisions, feedback and experts as JSON documents: the same everywhere a client can see them.

The fields are those of `routers.decision.Decision`, and of the columns in `app.storage.rows`; they are
listed nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from app.serving.request_context import NOTHING_USED, PromptUse
from app.serving.strategy_trace import Trace
from app.storage.rows import DecisionRow, FeedbackRow, Row, ShadowRow, column_names
from experts.health import ExpertHealth
from experts.registry import Expert
from experts.residency.live_residency import ResidencyFacts
from routers.decision import EXPECTATIONS, UNSEEN, Choice, Decision

if TYPE_CHECKING:
    from experts.replicas.pool import ReplicaState

ESTIMATES = frozenset({"probability", "ood_score", "utility", "correction", "value", "propensity"})
"""Rounded to six digits."""

HEADERS = {
    "x-coterie-decision": "id",
    "x-coterie-expert": "expert",
    "x-coterie-category": "category",
    "x-coterie-reason": "reason",
    "x-coterie-strategy": "strategy",
    "x-coterie-limited-from": "limited_from",
}
"""Response headers and the fields of the decision that they repeat."""
_headers_of = attrgetter(*HEADERS.values())
ONLY_WITH_VALUE = frozenset({"x-coterie-limited-from"})
"""Those that are left out where the field is null; the others are empty then."""


_ATOMS = frozenset({str, int, bool, type(None)})
"""Types that are JSON as they are."""
_FIELDS: dict[type, tuple[str, ...]] = {}
"""What `fields` says of dataclasses, which it gathers anew each time."""

_SHOWN = [field.name for field in fields(Decision) if field.name not in UNSEEN]
_PLACE = _SHOWN.index("strategy_detail") + 1
"""Where the trace stands, and what was put in front."""
_BEFORE, _AFTER = _SHOWN[:_PLACE], [*_SHOWN[_PLACE:], *EXPECTATIONS]
_before_of, _after_of = attrgetter(*_BEFORE), attrgetter(*_AFTER)
_NO_ATOMS = [name for name in (*_BEFORE, *_AFTER) if name not in EXPECTATIONS]
_CHOICE_ESTIMATES = [name for name in Choice._fields if name in ESTIMATES]


def decision_document(
    decision: Decision, trace: Trace | None = None, used: PromptUse = NOTHING_USED
) -> dict[str, Any]:
    """The `routing` of an answer; `trace` is there when several experts were asked, `used` says what was
    put in front of the request for the one that answers."""
    document = {
        **dict(zip(_BEFORE, _before_of(decision), strict=True)),
        "trace": None if trace is None else trace.document(),
        **used.document(),
        **dict(zip(_AFTER, _after_of(decision), strict=True)),
    }
    for name in _NO_ATOMS:
        if type(value := document[name]) not in _ATOMS:
            document[name] = _plain(value, name)
    return document


def decision_headers(decision: Decision) -> dict[str, str]:
    """The decision in `x-coterie-*` headers; header values are ASCII."""
    values = zip(HEADERS, _headers_of(decision), strict=True)
    return {
        name: _ascii(value or "")
        for name, value in values
        if value is not None or name not in ONLY_WITH_VALUE
    }


def _ascii(value: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def stored_document(
    row: DecisionRow, feedback: Sequence[FeedbackRow] = (), shadows: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """A decision as /v1/decisions shows it: what the answer's `routing` said, and what became of it."""
    rated = {"feedback": [feedback_document(each) for each in feedback], "shadows": list(shadows)}
    return _row_document("decision", row, rated, texts=("messages", "answer"))


def shadow_document(row: ShadowRow, feedback: Sequence[FeedbackRow] = ()) -> dict[str, Any]:
    """A shadow answer as its decision shows it."""
    rated = {"feedback": [feedback_document(each) for each in feedback]}
    document = _row_document("shadow", row, rated, texts=("answer",))
    del document["decision_id"]
    return document


def feedback_document(row: FeedbackRow) -> dict[str, Any]:
    return _row_document("feedback", row, {})


def _row_document(
    kind: str, row: Row, rated: Mapping[str, Any], *, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """Every column, then `rated`. The columns `texts` are there only when the operator keeps text."""
    columns = {name: _plain(getattr(row, name)) for name in column_names(type(row))}
    kept = {name: columns.pop(name) for name in texts}
    return {
        "object": kind,
        **columns,
        **rated,
        **{name: text for name, text in kept.items() if text is not None},
    }


def expert_document(
    expert: Expert,
    health: ExpertHealth | None,
    facts: Mapping[str, Any] | None = None,
    residency: ResidencyFacts | None = None,
    replicas: Sequence["ReplicaState"] = (),
) -> dict[str, Any]:
    """An expert as /v1/experts shows it. `health` None: not checked. `facts`: `Prompting.facts` of its
    mixture and identities. `residency` None: it takes no turns. `replicas`: its servers, where there are
    several."""
    return {
        "name": expert.name,
        "params_b": expert.params_b,
        "active_params_b": expert.active_params_b,
        "context_length": expert.context_length,
        "capabilities": sorted(expert.capabilities),
        "price": expert.price.model_dump(),
        "description": expert.description,
        "base": expert.base,
        "prompt": None if expert.prompt is None else asdict(expert.prompt),
        "mixture": expert.mixture and {"name": expert.mixture.name, "digest": None},
        "identity": expert.identity and {"per": expert.identity.per, "digest": None, "categories": []},
        **(facts or {}),
        "settings": expert.settings,
        "health": {
            "state": health.state if health else "unknown",
            "detail": health.detail if health else "Nobody looked.",
        },
        "residency": None if residency is None else asdict(residency),
        "replicas": [asdict(each) for each in replicas],
    }


def _plain(value: Any, name: str = "") -> Any:
    """`value` as JSON has it; the field's `name` tells an estimate."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is float:
        return round(value, 6) if name in ESTIMATES else value
    if kind is Choice:
        return _choice_document(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_choice_document(each) if type(each) is Choice else _plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name: part if type(part := getattr(value, name)) in _ATOMS else _plain(part, name)
            for name in _names(kind)
        }
    return value


def _choice_document(choice: Choice) -> dict[str, Any]:
    document: dict[str, Any] = dict(zip(Choice._fields, choice, strict=True))
    for name in _CHOICE_ESTIMATES:
        document[name] = round(document[name], 6)
    return document


def _names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass."""
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(field.name for field in fields(kind))
    return _FIELDS[kind]
