"""Queries: decisions by id or page, their feedback and shadows, a conversation's last expert,
stored responses."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import StringConstraints
from sqlalchemy import ColumnElement, Select, delete, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.rows import DecisionRow, FeedbackRow, MarkRow, ResponseRow, ShadowRow

Found = TypeVar("Found", FeedbackRow, ShadowRow)


class BadCursor(ValueError):
    """The cursor does not come from a page of decisions."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position after one decision in the order newest first."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        raw = f"{self.created_at.isoformat()}|{self.id}".encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Raises BadCursor."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
            when, separator, row_id = raw.partition("|")
            created_at = datetime.fromisoformat(when)
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise BadCursor(text[:40]) from None
        if not separator or created_at.tzinfo is None:
            raise BadCursor(text[:40])
        return cls(created_at, row_id)


FEW_ROWS = frozenset({"conversation", "request_id"})
"""Columns that narrow decisions down to a few. Others beside them are compared as expressions: SQLite would
take the index of such a column, which is in the order of the list, and go through all its rows."""
Wanted = Annotated[str, StringConstraints(max_length=256)] | None


@dataclass(frozen=True)
class Filters:
    """Which decisions: every field that is given must be equal; the times bound `created_at`, and are UTC
    when they name no zone."""

    expert: Wanted = None
    category: Wanted = None
    reason: Wanted = None
    status: Wanted = None
    model: Wanted = None
    conversation: Wanted = None
    request_id: Wanted = None
    api_key: Wanted = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterable[ColumnElement[bool]]:
        for name, wanted in vars(self).items():
            if wanted is None:
                continue
            if isinstance(wanted, datetime):
                time = wanted.replace(tzinfo=UTC) if wanted.tzinfo is None else wanted
                created = DecisionRow.created_at
                yield created >= time if name == "since" else created < time
            elif name in FEW_ROWS or not any(vars(self)[few] for few in FEW_ROWS):
                yield getattr(DecisionRow, name) == wanted
            else:
                yield getattr(DecisionRow, name).concat("") == wanted


async def decision_by_id(session: AsyncSession, decision_id: str) -> DecisionRow | None:
    return await session.get(DecisionRow, decision_id)


def page_query(filters: Filters, *, limit: int, after: Cursor | None = None) -> Select[DecisionRow]:
    """At most `limit` decisions, newest first, that come after the cursor."""
    query = select(DecisionRow).where(*filters.conditions())
    if after is not None:
        # Compared as one value: both databases then begin at the cursor instead of reading up to it.
        position = literal(after.created_at, DecisionRow.created_at.type), literal(after.id)
        query = query.where(tuple_(DecisionRow.created_at, DecisionRow.id) < tuple_(*position))
    return query.order_by(DecisionRow.created_at.desc(), DecisionRow.id.desc()).limit(limit)


async def decisions_page(
    session: AsyncSession, filters: Filters, *, limit: int, after: Cursor | None = None
) -> tuple[Sequence[DecisionRow], Cursor | None]:
    """At most `limit` decisions, newest first, and the cursor of the next page (None: the last one)."""
    query = page_query(filters, limit=limit + 1, after=after)
    rows = (await session.scalars(query)).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], Cursor(last.created_at, last.id)


async def feedback_of(session: AsyncSession, decision_ids: Sequence[str]) -> dict[str, list[FeedbackRow]]:
    """The feedback of each decision, oldest first."""
    order = FeedbackRow.created_at, FeedbackRow.id
    return await _by_decision(session, select(FeedbackRow).order_by(*order), FeedbackRow, decision_ids)


async def shadows_of(session: AsyncSession, decision_ids: Sequence[str]) -> dict[str, list[ShadowRow]]:
    """The shadow answers to each decision's request, by expert."""
    order = ShadowRow.expert, ShadowRow.created_at, ShadowRow.id
    return await _by_decision(session, select(ShadowRow).order_by(*order), ShadowRow, decision_ids)


async def _by_decision(
    session: AsyncSession, query: Select[Found], table: type[Found], decision_ids: Sequence[str]
) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {decision_id: [] for decision_id in decision_ids}
    if decision_ids:
        for row in await session.scalars(query.where(table.decision_id.in_(decision_ids))):
            found[row.decision_id].append(row)
    return found


async def shadow_by_id(session: AsyncSession, shadow_id: str) -> ShadowRow | None:
    return await session.get(ShadowRow, shadow_id)


async def shadow_spending(session: AsyncSession, since: datetime) -> tuple[int, float]:
    """Tokens and dollars that shadow answers cost from `since` on."""
    query = select(
        func.coalesce(func.sum(ShadowRow.tokens), 0), func.coalesce(func.sum(ShadowRow.price), 0.0)
    ).where(ShadowRow.created_at >= since)
    tokens, price = (await session.execute(query)).one()
    return int(tokens), float(price)


async def last_of_conversation(
    session: AsyncSession, conversation: str, api_key: str | None
) -> DecisionRow | None:
    """The last decision in a conversation of this caller whose expert answered; None when none did."""
    # As an expression, as in FEW_ROWS.
    key = DecisionRow.api_key.concat("")
    query = (
        select(DecisionRow)
        .where(
            DecisionRow.conversation == conversation,
            key.is_(None) if api_key is None else key == api_key,
            DecisionRow.first_byte_ms.is_not(None),
        )
        .order_by(DecisionRow.created_at.desc(), DecisionRow.id.desc())
        .limit(1)
    )
    row: DecisionRow | None = await session.scalar(query)
    return row


async def decision_of(session: AsyncSession, decision_id: str, api_key: str | None) -> DecisionRow | None:
    """A decision of this caller."""
    row = await decision_by_id(session, decision_id)
    return row if row is not None and row.api_key == api_key else None


async def responses_by_id(
    session: AsyncSession, ids: Iterable[str], api_key: str | None
) -> dict[str, ResponseRow]:
    """This caller's responses among `ids`."""
    query = select(ResponseRow).where(ResponseRow.id.in_(tuple(ids)), _of_caller(ResponseRow, api_key))
    return {row.id: row for row in await session.scalars(query)}


async def response_chain(
    session: AsyncSession, last: str, api_key: str | None, *, bound: int
) -> list[ResponseRow]:
    """A response of this caller and those that it goes on from, oldest first; at most `bound`."""
    own = _of_caller(ResponseRow, api_key)
    chain = (
        select(ResponseRow.id, ResponseRow.previous, literal(1).label("turns"))
        .where(ResponseRow.id == last, own)
        .cte("chain", recursive=True)
    )
    earlier = (
        select(ResponseRow.id, ResponseRow.previous, chain.c.turns + 1)
        .join(chain, ResponseRow.id == chain.c.previous)
        .where(own, chain.c.turns < bound)
    )
    chain = chain.union_all(earlier)
    query = select(ResponseRow).join(chain, ResponseRow.id == chain.c.id).order_by(chain.c.turns.desc())
    return list(await session.scalars(query))


async def delete_response(session: AsyncSession, response_id: str, api_key: str | None) -> bool:
    """Whether this caller had it."""
    query = delete(ResponseRow).where(ResponseRow.id == response_id, _of_caller(ResponseRow, api_key))
    found = await session.execute(query.returning(ResponseRow.id))
    deleted = found.first() is not None
    await session.commit()
    return deleted


def _of_caller(table: type[DecisionRow | ResponseRow], api_key: str | None) -> ColumnElement[bool]:
    return table.api_key.is_(None) if api_key is None else table.api_key == api_key


async def marks_of(session: AsyncSession, marks: Sequence[str]) -> Sequence[MarkRow]:
    """Who answered where these marks stand for, the latest first."""
    query = select(MarkRow).where(MarkRow.mark.in_(marks)).order_by(MarkRow.seen_at.desc(), MarkRow.expert)
    return (await session.scalars(query)).all()


async def delete_old_marks(session: AsyncSession, before: datetime, *, bound: int) -> int:
    """Delete marks that nobody has seen since `before`, at most `bound`; returns how many."""
    key = MarkRow.mark, MarkRow.expert
    old = select(*key).where(MarkRow.seen_at < before).limit(bound)
    deleted = await session.execute(delete(MarkRow).where(tuple_(*key).in_(old)).returning(MarkRow.mark))
    count = len(deleted.all())
    await session.commit()
    return count
