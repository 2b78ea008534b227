"""The decisions page: what was routed lately, narrowed by filters, and one decision in full."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from client import ApiError, DecisionRecord
from ui.availability import Offer
from ui.cost_view import MARKS, Unit, against_alternative, amount, cost_of, unit_of
from ui.decision_view import REASONS, headline, show_decision
from ui.markdown import plain
from ui.problems import show_problem
from ui.session import Console

NEWEST = (50, 200, 1000)
COSTS = ("Expected", "Did cost", "Alternative")


def show_decisions(console: Console, offer: Offer) -> None:
    st.title("Decisions", anchor=False)
    st.caption("What was asked of the API lately, which expert answered, and why. Prompts are not shown.")
    filters, limit = _filters(offer)
    try:
        records = console.backend.loop.run(console.backend.api.decisions(limit=limit, **filters))
    except ApiError as error:
        show_problem(error)
        return
    if not records:
        narrowed = any(filters.values())
        st.info("No decision matches these filters." if narrowed else "No request has been routed yet.")
        return
    _figures(records)
    _one(_table(records, offer), offer)


def _filters(offer: Offer) -> tuple[dict[str, str | None], int]:
    titles = offer.titles
    experts = [card.name for card in offer.experts]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        expert = st.selectbox("Expert", experts, index=None, placeholder="Any", key="by-expert", width=210)
        category = st.selectbox(
            "Category",
            list(titles),
            index=None,
            placeholder="Any",
            format_func=lambda name: titles.get(name, name),
            key="by-category",
            width=210,
        )
        reason = st.selectbox(
            "Reason", list(REASONS), index=None, placeholder="Any", key="by-reason", width=160
        )
        limit = st.selectbox("Newest", NEWEST, key="newest", width=110)
        st.button("Refresh", icon=":material/refresh:", key="refresh")
    return {"expert": expert, "category": category, "reason": reason}, limit


def _figures(records: Sequence[DecisionRecord]) -> None:
    first = sorted(record.first_byte_ms for record in records if record.first_byte_ms is not None)
    active = [size for record in records if (size := active_params_b(record)) is not None]
    failed = sum(record.error_code is not None for record in records)
    thumbs = [item.rating for record in records for item in record.feedback[-1:] if item.rating]
    with st.grid(6, min_column_width=140):
        st.metric("Requests", len(records))
        st.metric("Average active parameters", f"{sum(active) / len(active):.2f} B" if active else "–")
        st.metric("Median first byte", seconds(first[len(first) // 2]) if first else "–")
        _saved(records)
        st.metric("Failed", failed)
        st.metric("Thumbs up", f"{sum(thumb > 0 for thumb in thumbs)} of {len(thumbs)}")


def _saved(records: Sequence[DecisionRecord]) -> None:
    cost, compared = against_alternative(records)
    more = None if not cost.alternative else (cost.spent or 0.0) / cost.alternative - 1
    spent, fixed = (plain(amount(each, cost.unit)) for each in (cost.spent, cost.alternative))
    st.metric(
        "Cost against the alternative",
        "–" if more is None else f"{100 * more:+.0f}%".replace("-", "−"),
        help=f"{compared} requests did cost {spent}; one fixed expert was expected to take {fixed} for them. "
        "`coterie savings` also counts prefix caches and shadow answers.",
    )


def active_params_b(record: DecisionRecord) -> float | None:
    """Parameters, in billions, of the expert that answered."""
    return next((choice.active_params_b for choice in record.ranking if choice.expert == record.expert), None)


def seconds(milliseconds: float) -> str:
    """A duration as people say it."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"


def _table(records: Sequence[DecisionRecord], offer: Offer) -> DecisionRecord:
    """Show `records` and return the selected one, the newest when none is."""
    zone, unit = _zone(), unit_of(records)
    event: Any = st.dataframe(
        [_row(record, offer, zone, unit) for record in records],
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="decisions",
        height=min(38 + 35 * len(records), 420),
        column_config={
            "Time": st.column_config.DatetimeColumn(format="D MMM, HH:mm:ss", width="medium"),
            "Probability": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f%%"),
            "First byte": st.column_config.NumberColumn(format="%d ms"),
            "Total": st.column_config.NumberColumn(format="%d ms"),
            **{
                name: st.column_config.NumberColumn(f"{name}, {MARKS[unit]}", format="%.3g") for name in COSTS
            },
        },
    )
    rows = event.selection.rows
    if not rows:
        st.caption("This is the newest decision. Tick a row to see another one.")
    return records[rows[0]] if rows and rows[0] < len(records) else records[0]


def _row(record: DecisionRecord, offer: Offer, zone: tzinfo, unit: Unit) -> dict[str, Any]:
    category = record.category
    created = record.created_at
    thumb = record.feedback[-1].rating if record.feedback else None
    cost = cost_of(record, unit)
    return {
        # The table shows a time as it is written, so it is written in the reader's zone.
        "Time": created.astimezone(zone).replace(tzinfo=None) if created is not None else None,
        "Expert": record.expert,
        "Category": offer.titles.get(category, category) if category is not None else "–",
        "Probability": None if record.probability is None else 100 * record.probability,
        "Reason": record.reason,
        "Asked for": record.model,
        "Status": record.error_code or record.status,
        "First byte": record.first_byte_ms,
        "Total": record.latency_ms,
        **dict(zip(COSTS, (cost.expected, cost.spent, cost.alternative), strict=True)),
        "Feedback": {1: "👍", -1: "👎"}.get(thumb or 0, ""),
    }


def _zone() -> tzinfo:
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _one(record: DecisionRecord, offer: Offer) -> None:
    with st.container(border=True):
        facts = []
        if record.latency_ms is not None:
            facts.append(seconds(record.latency_ms))
        if record.usage and record.usage.get("completion_tokens"):
            facts.append(f"{record.usage['completion_tokens']} tokens")
        cost = cost_of(record)
        if cost.spent is not None:
            facts.append(plain(amount(cost.spent, cost.unit)))
        st.markdown(headline(record, offer.titles, tuple(facts)))
        if record.error_code is not None:
            st.markdown(f":red-badge[:material/error: {plain(record.error_code)}]")
        show_decision(record, offer.titles)
        for item in record.feedback:
            _feedback(item.rating, item.score, item.comment, item.created_at)
        if record.request_id:
            st.caption(f"Request `{plain(record.request_id)}`")


def _feedback(rating: int | None, score: float | None, comment: str | None, when: datetime | None) -> None:
    words = {1: ":material/thumb_up:", -1: ":material/thumb_down:", 0: "Rating taken back"}
    mark = words.get(rating, "") if rating is not None else f"Score {score:.2f}" if score is not None else ""
    time = "" if when is None else f" · {when.astimezone(_zone()):%d %b, %H:%M}"
    st.caption(f"{mark} {plain(comment or '')}{time}")
