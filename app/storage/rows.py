"""The tables: one row a decision, a piece of feedback, a shadow answer, a stored response, a mark of a
conversation."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import JSON, DateTime, Dialect, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone, always UTC; SQLite keeps none of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class TableBase(MappedAsDataclass, DeclarativeBase):
    """Constraint names are fixed, so that migrations can name them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class MarkRow(TableBase, kw_only=True):
    """That an expert answered in a conversation which `mark` stands for: a digest of messages, of a tool
    call's id or of provider state, under the caller's key (`app/serving/message_chain.py`). Holds no text."""

    __tablename__ = "conversation_marks"

    mark: Mapped[str] = mapped_column(String(64), primary_key=True)
    expert: Mapped[str] = mapped_column(String(128), primary_key=True)
    category: Mapped[str | None] = mapped_column(String(128), default=None)
    """The category that the router was sure of."""
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """When the expert last answered there."""
    replica: Mapped[str | None] = mapped_column(String(32), default=None)
    """The id of its replica that did, where it has several."""


class Mark(NamedTuple):
    """A row of `MarkRow`'s table that is to be written: an answer has a few of them."""

    mark: str
    expert: str
    category: str | None
    seen_at: datetime
    replica: str | None = None


class DecisionRow(TableBase, kw_only=True):
    """A decision, and what became of the request it was made for. The columns stand in the order in which
    documents show them: `decision_document`'s fields first.

    `status` is `ok`, `error` (see `error_code`) or `cancelled` (the client went away). Times are in
    milliseconds from the request's arrival; `first_byte_ms` is None when no byte of an answer came.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        Index("ix_decisions_created_at_id", "created_at", "id"),
        Index("ix_decisions_conversation_created_at", "conversation", "created_at"),
        # One for each filter of the list, in the order of its pages: a page reads its own rows alone, however
        # rare they are.
        *(
            Index(f"ix_decisions_{name}_created_at_id", name, "created_at", "id")
            for name in ("category", "expert", "reason", "status", "model", "api_key")
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    composition: Mapped[str] = mapped_column(String(128))
    classification: Mapped[str] = mapped_column(String(32))
    category: Mapped[str | None] = mapped_column(String(128), default=None)
    probability: Mapped[float | None] = mapped_column(default=None)
    runners_up: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    ood_score: Mapped[float | None] = mapped_column(default=None)
    ranking: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    expert: Mapped[str] = mapped_column(String(128))
    strategy: Mapped[str] = mapped_column(String(64))
    strategy_source: Mapped[str] = mapped_column(String(32), default="default", server_default="default")
    strategy_detail: Mapped[str] = mapped_column(Text, default="", server_default="")
    trace: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """What a strategy of several experts did (`app/serving/strategy_trace.py`); None for one expert."""
    prompt: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """The library's prompt that `expert` answered under: name, version, hash."""
    mixture: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """The region of its mixture that the request fell into (`app/serving/request_context.py`)."""
    identity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    samples: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """What the answer was taken from, where the expert gives several samples."""
    replica: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """Which of the expert's servers answered, where it has several (`experts.expert_replies.ReplicaUse`)."""
    reason: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text)
    spilled_from: Mapped[str | None] = mapped_column(String(128), default=None)
    explored_from: Mapped[str | None] = mapped_column(String(128), default=None)
    propensity: Mapped[float | None] = mapped_column(default=None)
    """The chance that `expert` had of answering; None where exploration had no say."""
    escalated: Mapped[bool | None] = mapped_column(default=None)
    """Whether it counts against its key's quota of escalations; None without a quota."""
    limited_from: Mapped[str | None] = mapped_column(String(128), default=None)
    alternative: Mapped[str | None] = mapped_column(String(128), default=None)
    expected_cost: Mapped[float | None] = mapped_column(default=None)
    """$ that the request was expected to cost; this and all costs None when unknown, computes in B·tokens."""
    expected_compute: Mapped[float | None] = mapped_column(default=None)
    alternative_cost: Mapped[float | None] = mapped_column(default=None)
    alternative_compute: Mapped[float | None] = mapped_column(default=None)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = mapped_column(String(64), index=True)
    api_key: Mapped[str | None] = mapped_column(String(128), default=None)
    """The label of the caller's key, never the key."""
    conversation: Mapped[str | None] = mapped_column(String(128), default=None)
    model: Mapped[str] = mapped_column(String(256))
    """The `model` that the client asked for."""
    stream: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(String(16))
    http_status: Mapped[int] = mapped_column(Integer)
    error_code: Mapped[str | None] = mapped_column(String(128), default=None)
    latency_ms: Mapped[float | None] = mapped_column(default=None)
    first_byte_ms: Mapped[float | None] = mapped_column(default=None)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    cost: Mapped[float | None] = mapped_column(default=None)
    """$ that it did cost, all calls together."""
    compute: Mapped[float | None] = mapped_column(default=None)
    repeated_share: Mapped[float | None] = mapped_column(default=None)
    """The share of the prompt that earlier requests of its conversation held: what one expert's prefix cache
    would have held of it."""
    messages: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """The request's messages, only when the operator keeps prompts."""
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    """The answer's text, likewise."""


class FeedbackRow(TableBase, kw_only=True):
    """What somebody thought of an answer. `decision_id` names a decision, or a shadow answer by its own
    id; it is no foreign key: feedback may be written while the answer still streams, before its
    decision is."""

    __tablename__ = "feedback"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    decision_id: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    api_key: Mapped[str | None] = mapped_column(String(128), default=None)
    rating: Mapped[int | None] = mapped_column(default=None)
    """-1, 0 or 1."""
    score: Mapped[float | None] = mapped_column(default=None)
    """0..1."""
    comment: Mapped[str | None] = mapped_column(Text, default=None)


class ShadowRow(TableBase, kw_only=True):
    """What another expert made of a request that somebody else answered.

    `status` is `ok`, `error` or `dropped` (not asked: see `error_code`). `tokens` and `price` ($) count
    against the day's limits; where the expert reported no usage they are an estimate.
    """

    __tablename__ = "shadows"
    __table_args__ = (Index("ix_shadows_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    decision_id: Mapped[str] = mapped_column(String(64), index=True)
    expert: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(128), default=None)
    latency_ms: Mapped[float | None] = mapped_column(default=None)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    tokens: Mapped[int] = mapped_column(Integer, default=0)
    price: Mapped[float] = mapped_column(default=0.0)
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    """The answer's text, only when the operator keeps prompts."""
    prompt: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """This and the next four: what was put in front, how many samples were taken and where, as in a
    decision."""
    mixture: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    identity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    samples: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    replica: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)


class ResponseRow(TableBase, kw_only=True):
    """A response of the Responses API, only when the operator keeps prompts. `input` are its own items,
    without those of the responses before it."""

    __tablename__ = "responses"
    __table_args__ = (Index("ix_responses_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """`resp_` and what follows `dec_` in the id of its decision."""
    api_key: Mapped[str | None] = mapped_column(String(128), default=None)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    previous: Mapped[str | None] = mapped_column(String(64), default=None)
    """The response that it goes on from."""
    input: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    response: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The response as the client has it."""


Row = DecisionRow | FeedbackRow | ShadowRow | ResponseRow
TABLES: tuple[type[Row], ...] = (DecisionRow, FeedbackRow, ShadowRow, ResponseRow)


class NewRow(NamedTuple):
    """A row that is to be written, as plain values: an object of its class would take longer to make than
    to write."""

    table: type[Row]
    values: Mapping[str, Any]
    """By column; one that is left out has its default."""
    marks: Sequence[Mark] = ()
    """Rows of their own, written with a decision."""


@cache
def column_names(table: type[TableBase]) -> tuple[str, ...]:
    """The columns in the order of the class."""
    return tuple(table.__table__.columns.keys())
