"""What a build found and what it cost, as a table and a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.terminal import console

if TYPE_CHECKING:
    from prompts.mixture.mixture import Mixture


def show_mixture(mixture: "Mixture", out: Path, sent_again: int) -> None:
    """Regions, what they measured, and the bill; `sent_again` requests failed and were repeated."""
    from rich.markup import escape
    from rich.table import Table

    said = mixture.manifest
    table = Table(expand=True)
    for name in ("", "demos", "expected", "plain", "tokens", "held out", "plain"):
        table.add_column(name, no_wrap=True)
    table.add_column("instruction", no_wrap=True, overflow="ellipsis", ratio=1)
    rows = zip(mixture.regions, said["search"], said["held_out"]["regions"], strict=True)
    for number, (region, searched, held_out) in enumerate(rows):
        table.add_row(
            str(number),
            _demos(searched),
            f"{searched['estimate']:.2f}",
            f"{searched['plain_estimate']:.2f}",
            f"+{searched['extra_tokens']:.0f}",
            _right(held_out["mixture"], held_out["demos"]),
            _right(held_out["plain"], held_out["demos"]),
            escape(region.instruction) or "[dim]none[/]",
        )
    screen = console(stderr=False)
    screen.print(table)
    for line in (_measured(said), *said["notes"], *_bill(said, sent_again)):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
    where = f"{mixture.name} ({mixture.digest}) is in {out}"
    screen.print(where, highlight=False, markup=False, soft_wrap=True)


def _measured(said: Mapping[str, Any]) -> str:
    overall = said["held_out"]["all"]
    if not overall["demos"]:
        return "No demos were held out"
    mixture, plain = _accuracy(overall["mixture"]), _accuracy(overall["plain"])
    return f"On {overall['demos']} held-out demos: {mixture} correct, {plain} with the plain prompt"


def _bill(said: Mapping[str, Any], sent_again: int) -> list[str]:
    bill = said["bill"]
    asked = bill["calls"] + bill["cached"]
    lines = []
    if bill["empty"]:
        lines.append(f"{bill['empty']} of {asked} answers were empty, and count as wrong")
    if bill["too_long"]:
        context = said["config"]["context_tokens"]
        doubt = f": is a context_length of {context} right?" if context else ""
        lines.append(f"The server refused {bill['too_long']} of {asked} questions as too long{doubt}")
    if sent_again:
        lines.append(f"{sent_again} requests failed and were sent again")
    lines.append(
        f"{bill['calls']} calls and {bill['cached']} from the cache, {bill['prompt_tokens']:,} prompt and "
        f"{bill['completion_tokens']:,} answer tokens, {bill['seconds']:.0f} s"
    )
    if bill["prefix_cache_hit_rate"] is not None:
        lines.append(f"{bill['prefix_cache_hit_rate']:.0%} of prompt tokens came from the prefix cache")
    return lines


def _demos(searched: Mapping[str, Any]) -> str:
    """How many demos a region shows, and of what kind."""
    if not searched["demos"]:
        return "none"
    kind = {"region": " own", "shared": " shared", "nearest": " nearest"}
    return f"{searched['demos']}{kind[searched['demo_set'].split(':')[0]]}"


def _right(measured: Mapping[str, Any] | None, demos: int) -> str:
    return "–" if measured is None else f"{round(measured['accuracy'] * demos)} of {demos}"


def _accuracy(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "–"
    low, high = measured["interval"]
    return f"{measured['accuracy']:.2f} ({low:.2f}–{high:.2f})"
