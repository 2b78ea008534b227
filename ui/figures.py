"""Small pictures in HTML: bars, a ranking, a heat table. Pure: data in, markup out.

They take their colours from the page (`currentColor`, one accent), so they hold in light and dark,
and they are tables of text to a screen reader or a test. Every text is escaped here.
"""

from collections.abc import Mapping, Sequence
from html import escape

from client import CategoryShare, RankedExpert

STYLE = """
<style>
.co { --accent: 99, 102, 241; font-size: .875rem; line-height: 1.35; width: 100%; overflow-x: auto; }
.co table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 0; }
.co th { font-weight: 500; opacity: .65; text-align: right; padding: .2rem .55rem; white-space: nowrap; }
.co td { text-align: right; padding: .34rem .55rem; white-space: nowrap; border: 0;
  border-top: 1px solid color-mix(in srgb, currentColor 11%, transparent); }
.co th { border: 0; }
.co th:first-child, .co td:first-child { text-align: left; padding-left: 0; }
.co td.wide { width: 38%; min-width: 7.5rem; padding-right: 0; }
.co th.wide { text-align: left; }
.co tr.chosen td { font-weight: 600; }
.co tr.excluded td { opacity: .6; }
.co td.why { text-align: left; white-space: normal; }
.co .bar { display: flex; align-items: center; gap: .5rem; }
.co .track { flex: 1; height: .5rem; border-radius: .25rem; overflow: hidden;
  background: color-mix(in srgb, currentColor 9%, transparent); }
.co .fill { height: 100%; border-radius: .25rem; background: rgba(var(--accent), .42); }
.co .chosen .fill { background: rgb(var(--accent)); }
.co .number { min-width: 3.1rem; text-align: right; }
.co .soft { opacity: .65; font-weight: 400; }
.co .mark { display: inline-block; margin-left: .4rem; padding: 0 .4rem; border-radius: .5rem;
  font-size: .75rem; font-weight: 500;
  color: color-mix(in srgb, rgb(var(--accent)) 70%, currentColor);
  background: rgba(var(--accent), .13); }
.co.heat td { text-align: center; border-top: 0; padding: .12rem; }
.co.heat td:first-child { padding-right: .8rem; text-align: left; }
.co.heat table { table-layout: fixed; }
.co.heat th { text-align: center; overflow: hidden; text-overflow: ellipsis; }
.co.heat th:first-child { width: 9rem; }
.co.heat .cell { display: block; padding: .3rem .5rem; border-radius: .35rem;
  border: 2px solid transparent; background: rgba(var(--accent), var(--heat)); }
.co.heat .mapped { border-color: rgb(var(--accent)); font-weight: 650; }
.co.facts td { vertical-align: top; }
.co.facts td:last-child { white-space: normal; overflow-wrap: anywhere; padding-right: 0; }
@media (max-width: 640px) {
  .co td, .co th { padding-left: .25rem; padding-right: .25rem; }
  .co td.wide { min-width: 0; width: auto; }
  .co.ranked .track { display: none; }
  .co .mark { display: block; margin: 0; width: fit-content; }
}
</style>
"""


def ranking(choices: Sequence[RankedExpert], chosen: str) -> str:
    """The experts in the order they were ranked, the excluded ones last with their reason."""
    eligible = [choice for choice in choices if choice.excluded is None]
    low, high = _scale([choice.value for choice in eligible])
    priced = any(choice.cost is not None for choice in choices)
    head = ["Expert", "Utility", "Correction", "Cost"]
    rows = []
    for choice in choices:
        mark = '<span class="mark">answers</span>' if choice.expert == chosen else ""
        size = f'<div class="soft">{_size(choice, priced)}</div>'
        name = f"<td>{escape(choice.expert)}{mark}{size}</td>"
        if choice.excluded is not None:
            rows.append(
                f'<tr class="excluded">{name}<td>{choice.utility:.3f}</td>'
                f'<td colspan="3" class="why">Excluded: {escape(choice.excluded)}</td></tr>'
            )
            continue
        rows.append(
            f'<tr class="{"chosen" if choice.expert == chosen else "other"}">{name}'
            f"<td>{choice.utility:.3f}</td><td>{_signed(choice.correction)}</td>"
            f"<td>{_signed(-choice.taken_off)}</td>"
            f'<td class="wide">{_bar(_share(choice.value, low, high), f"{choice.value:.3f}")}</td></tr>'
        )
    header = "".join(f"<th>{title}</th>" for title in head) + '<th class="wide">Value</th>'
    return f'{STYLE}<div class="co ranked"><table><tr>{header}</tr>{"".join(rows)}</table></div>'


def probabilities(rows: Sequence[CategoryShare], titles: Mapping[str, str]) -> str:
    """Categories as bars of their probability; the first is the one that was predicted."""
    lines = "".join(
        f'<tr class="{"chosen" if place == 0 else "other"}">'
        f"<td>{escape(titles.get(row.category, row.category))}</td>"
        f'<td class="wide" style="width:70%">{_bar(row.probability, percent(row.probability))}</td></tr>'
        for place, row in enumerate(rows)
    )
    return f'{STYLE}<div class="co"><table>{lines}</table></div>'


def heat(
    utilities: Mapping[str, Mapping[str, float]],
    mapped: Mapping[str, str],
    titles: Mapping[str, str],
    experts: Sequence[str],
) -> str:
    """Utility of every expert in every category; the cell that the map chose is framed."""
    low, high = _scale([value for row in utilities.values() for value in row.values()])
    header = "<th></th>" + "".join(f"<th>{escape(expert)}</th>" for expert in experts)
    rows = []
    for category, row in utilities.items():
        cells = []
        for expert in experts:
            value = row.get(expert)
            if value is None:
                cells.append('<td><span class="cell" style="--heat:0">–</span></td>')
                continue
            frame = " mapped" if mapped.get(category) == expert else ""
            shade = 0.05 + 0.5 * _share(value, low, high)
            cells.append(f'<td><span class="cell{frame}" style="--heat:{shade:.3f}">{value:.2f}</span></td>')
        rows.append(f"<tr><td>{escape(titles.get(category, category))}</td>{''.join(cells)}</tr>")
    table = f'<table style="min-width:{9 + 5 * len(experts)}rem"><tr>{header}</tr>{"".join(rows)}</table>'
    return f'{STYLE}<div class="co heat">{table}</div>'


def meter(value: float, label: str) -> str:
    """One bar of a number in 0..1."""
    return f'{STYLE}<div class="co"><div class="chosen">{_bar(value, label)}</div></div>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values, one pair a line."""
    lines = "".join(
        f'<tr><td class="soft">{escape(name)}</td><td>{escape(value)}</td></tr>' for name, value in rows
    )
    return f'{STYLE}<div class="co facts"><table>{lines}</table></div>'


def percent(probability: float) -> str:
    """A probability for people; what is nearly sure is not rounded to certainty."""
    if 0.995 <= probability < 1:
        return ">99%"
    if 0 < probability < 0.005:
        return "<1%"
    return f"{probability:.0%}"


def _bar(share: float, number: str) -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<div class="bar"><div class="track"><div class="fill" style="width:{width:.1f}%"></div></div>'
        f'<span class="number">{escape(number)}</span></div>'
    )


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a scale: from zero, unless values are below it."""
    if not values:
        return 0.0, 1.0
    return min(0.0, *values), max(max(values), 1e-9)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _signed(value: float) -> str:
    return "–" if abs(value) < 0.0005 else f"{value:+.3f}".replace("-", "−")


def _size(choice: RankedExpert, priced: bool) -> str:
    size = f"{choice.active_params_b:.3g} B active" if choice.active_params_b else "size unknown"
    if not priced:
        return size
    return f"{size} · {'price unknown' if choice.cost is None else f'${choice.cost:.2g}'}"
