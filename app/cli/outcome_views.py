"""Outcome tables for people in a terminal, and as documents for machines."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from routers.composition import ExpertCard
    from routers.describe import Description, Duplicates
    from routers.planning import ScoringPlan

DIGITS = 4


def description_document(found: "Description") -> dict[str, Any]:
    """`coterie outcomes describe --json`."""
    experts = [
        {
            "name": each.card.name,
            "params_b": each.card.params_b,
            "active_params_b": each.card.active_params_b,
            "price_input": each.card.price_input,
            "price_output": each.card.price_output,
            "scored": each.scored,
            "missing": each.missing,
            "mean": each.mean,
            "error": each.error,
        }
        for each in found.experts
    ]
    document: dict[str, Any] = rounded({**asdict(found), "experts": experts})
    return document


def rounded(value: Any) -> Any:
    """The same document with its numbers cut to what they can say."""
    match value:
        case float():
            return round(value, DIGITS)
        case dict():
            return {key: rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [rounded(each) for each in value]
        case _:
            return value


def description_view(found: "Description") -> "RenderableType":
    """Headline, experts, categories, and what a fit should know."""
    from rich.console import Group
    from rich.text import Text

    lines = [
        f"{found.prompts:,} prompts · {len(found.categories)} categories · {len(found.experts)} experts"
        f" · {_missing(found)}",
        found.tokens.sentence(),
        "",
    ]
    if found.oracle is not None:
        lines += [
            f"best single expert {found.best_single}, {_number(_best_mean(found))}; "
            f"best expert of each category {_number(found.category_oracle)}; "
            f"best expert of each prompt {_number(found.oracle)} (all on these very prompts)",
        ]
    if found.tied_at_top is not None and found.all_tied is not None:
        lines += [
            f"several experts share the best score on {found.tied_at_top:.0%} of the prompts, "
            f"all have the same on {found.all_tied:.0%}"
        ]
    lines += [_duplicates(found.duplicates), ""]
    return Group(Text("\n".join(lines)), _experts(found), Text(""), _categories(found))


def _experts(found: "Description") -> "RenderableType":
    table = plain_table(("expert", ""), ("B", "right"), ("active", "right"), ("$ in/out", "right"))
    gaps = any(each.missing for each in found.experts)
    for heading in ("scored", *(["missing"] if gaps else []), "mean", "± s.e."):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in sorted(found.experts, key=lambda each: -(each.mean if each.mean is not None else -1.0)):
        table.add_row(
            each.card.name,
            f"{each.card.params_b:g}",
            f"{each.card.active_params_b:g}",
            _prices(each.card),
            f"{each.scored}",
            *([f"{each.missing}"] if gaps else []),
            _number(each.mean),
            _number(each.error),
        )
    return table


def _categories(found: "Description") -> "RenderableType":
    gaps = any(each.missing for each in found.categories)
    table = plain_table(("category", ""), ("n", "right"), *([("missing", "right")] if gaps else []))
    table.add_column("best", overflow="fold", min_width=12)
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("before", overflow="fold", min_width=12)
    for heading in ("by", "± s.e.", "sure"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in sorted(found.categories, key=lambda each: (-each.prompts, each.name)):
        table.add_row(
            each.name,
            f"{each.prompts}",
            *([f"{each.missing}"] if gaps else []),
            each.best or "nobody scored",
            _number(each.best_mean),
            each.second or "",
            _number(each.margin),
            _number(each.margin_error),
            "" if each.sure is None else f"{each.sure:.0%}",
        )
    return table


def plan_document(found: "ScoringPlan") -> dict[str, Any]:
    """`coterie outcomes plan --json`."""
    document: dict[str, Any] = rounded(asdict(found))
    return document


def plan_view(found: "ScoringPlan") -> "RenderableType":
    """The cells to score, and what that is expected to bring."""
    from rich.console import Group
    from rich.text import Text

    head = Text(
        f"{found.judgments:,} scores in {len(found.cells)} cells; expected regret of the map "
        f"{found.regret_now:.4f} now, {found.regret_after:.4f} with them\n"
    )
    if not found.cells:
        return Text("nothing that could be scored would change the map")
    table = plain_table(
        ("category", ""), ("expert", ""), ("score", "right"), ("again", "right"), ("has", "right")
    )
    for heading in ("value", "± s.e.", "gap"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found.cells:
        table.add_row(
            each.category,
            Text(each.expert, style="bold" if each.leads else ""),
            f"{each.prompts}",
            f"{each.samples}" if each.samples else "",
            f"{each.scored}",
            _number(each.value),
            _number(each.error),
            f"{each.gap:+.3f}",
        )
    return Group(head, table)


def plain_table(*columns: tuple[str, str]) -> "Table":
    """A table without a frame; `columns` are headings with left, right, or nothing to let it fold."""
    from rich import box
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, side in columns:
        table.add_column(
            heading, justify="right" if side == "right" else "left", no_wrap=bool(side), overflow="fold"
        )
    return table


def _missing(found: "Description") -> str:
    if not found.missing:
        return "every score is there"
    cells = found.prompts * len(found.experts)
    whole = f", {found.unscored:,} prompts without any" if found.unscored else ""
    return f"{found.missing:,} of {cells:,} scores missing{whole}"


def _duplicates(found: "Duplicates") -> str:
    if not found.groups:
        return "no prompt occurs twice"
    several = f", {found.conflicting:,} of them in several categories" if found.conflicting else ""
    like = "; ".join(", ".join(uids) for uids in found.examples)
    return f"{found.groups:,} prompts occur more than once ({found.extra:,} repeats{several}): {like}"


def _best_mean(found: "Description") -> float | None:
    return next((each.mean for each in found.experts if each.card.name == found.best_single), None)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _prices(card: "ExpertCard") -> str:
    """Input and output price; – unknown."""
    both = ("–" if price is None else f"{price:g}" for price in (card.price_input, card.price_output))
    return "/".join(both)
