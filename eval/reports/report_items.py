"""The items of a report, folded by contestant and category, and the links that lead to them."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from urllib.parse import quote, unquote

from eval.engine.items import Item

TEXT_BUDGET = 12_000_000
"""Characters of answers and judgments on a page; beyond it long ones are cut, and the page says so."""
SHORT = 600


def items_section(items: Sequence[Item]) -> str:
    """All items with what was asked, answered and judged. Texts of models are escaped."""
    total = sum(len(t.answer) for each in items for t in each.turns) + sum(
        len(str(j.get("text", ""))) for each in items for j in each.judgments
    )
    limit = None if total <= TEXT_BUDGET else max(SHORT, TEXT_BUDGET * 1000 // max(1, total))
    parts = ["<h2>Items</h2>"]
    if limit is not None:
        parts.append(
            f'<p class="soft">Texts are cut at {limit} characters here; items.jsonl has them whole.</p>'
        )
    parts.append(_lists(items))
    grouped: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        grouped[item.contestant][item.category].append(item)
    for contestant, categories in grouped.items():
        inner = "".join(
            f'<details id="{_anchor(contestant, category)}">'
            f"<summary>{escape(category)} ({len(those)})</summary>"
            + "".join(_item(each, limit) for each in those)
            + "</details>"
            for category, those in categories.items()
        )
        count = sum(map(len, categories.values()))
        parts.append(
            f'<details id="{_anchor(contestant)}"><summary><b>{escape(contestant)}</b> ({count})</summary>'
            f"{inner}</details>"
        )
    return "".join(parts)


def _lists(items: Sequence[Item]) -> str:
    """Lists of links for numbers that count items across categories."""
    lists: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.score is None:
            lists[_anchor(item.contestant, "missing")].append(item)
        if item.unparsed:
            lists[_anchor(item.contestant, "unread")].append(item)
            for judge in dict.fromkeys(
                j["judge"] for j in item.judgments if "rating" not in j and "label" not in j
            ):
                lists[_anchor(f"unread by {judge}")].append(item)
        for expert in dict.fromkeys(item.experts):
            lists[_anchor(item.contestant, f"by {expert}")].append(item)
    return "".join(
        f'<details id="{anchor}"><summary class="soft">{escape(_unquoted(anchor))} ({len(those)})</summary>'
        + ", ".join(
            f'<a href="#{_anchor(i.contestant, i.category, i.question)}">{escape(i.question)}</a>'
            for i in those
        )
        + "</details>"
        for anchor, those in lists.items()
    )


def _item(item: Item, limit: int | None) -> str:
    mark = "no score" if item.score is None else f"{item.score:.3g}"
    why = f" · {escape(item.error or '')} {escape(item.reason)}" if item.error or item.reason else ""
    turns = []
    for turn in item.turns:
        routing = turn.routing or {}
        by = (
            f"answered by {routing['expert']} ({routing.get('reason')}, {routing.get('category')})"
            if routing
            else ""
        )
        facts = [by, f"{turn.completion_tokens} tokens" if turn.completion_tokens is not None else "",
                 f"{turn.latency_s:.2f} s" if turn.latency_s else "",
                 "cut off" if turn.finish_reason == "length" else ""]  # fmt: skip
        turns.append(
            f'<div class="turn"><pre>{_cut(turn.prompt, limit)}</pre><pre>{_cut(turn.answer, limit)}</pre>'
            f'<span class="who">{escape(" · ".join(fact for fact in facts if fact))}</span></div>'
        )
    judgments = []
    for each in item.judgments:
        verdict = each.get("rating", each.get("label", "no readable verdict"))
        about = f"{each['judge']}, turn {each['turn']}"
        about += f", game {each['game']}" if "label" in each or each["scale"] != "rating" else ""
        judgments.append(
            f'<div class="turn"><span class="who">{escape(about)}: <b>{escape(str(verdict))}</b></span>'
            f"<pre>{_cut(str(each.get('text', '')), limit)}</pre></div>"
        )
    return (
        f'<details id="{_anchor(item.contestant, item.category, item.question)}"><summary>'
        f"{escape(item.question)}: <b>{mark}</b>{why}</summary>{''.join(turns)}{''.join(judgments)}</details>"
    )


def _cut(text: str, limit: int | None) -> str:
    return escape(text if limit is None or len(text) <= limit else text[:limit] + " …")


def _anchor(*parts: str) -> str:
    return quote("/".join(parts), safe="/")


def _unquoted(anchor: str) -> str:
    return unquote(anchor).replace("/", ", ")


def link(text: str, contestant: str, part: str | None = None, *, expert: str | None = None) -> str:
    """`text` as a link to a contestant's items: all, those of a category or a list, those of an expert."""
    if expert is not None:
        part = f"by {expert}"
    anchor = _anchor(contestant, part) if part is not None else _anchor(contestant)
    return f'<a href="#{anchor}">{escape(text)}</a>' if text else ""
