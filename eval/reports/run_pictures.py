"""SVG plots of a run, with matplotlib's object-oriented interface (no display needed)."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c2571a", "#3f8f5a", "#8a5aa8", "#a88a1f", "#5a8fa8", "#a83f5f", "#6b6b6b")
GRID = "#d8d2c6"
MOST_IN_RADAR = 6


def svg(figure: "Figure") -> str:
    """The figure as an `<svg>` element; deterministic."""
    import matplotlib

    out = io.StringIO()
    for axes in figure.axes:
        axes.patch.set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": "coterie"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, facecolor="none")
    text = out.getvalue()
    return text[text.index("<svg") :]


def radar(scores: Mapping[str, Mapping[str, float]], *, top: float = 10.0) -> "Figure":
    """A radar chart of scores by contestant and category, from 0 to `top`."""
    from matplotlib.figure import Figure

    categories = list(dict.fromkeys(category for each in scores.values() for category in each))
    angles = [2 * math.pi * place / len(categories) for place in range(len(categories))]
    figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    axes: Any = figure.subplots(subplot_kw={"projection": "polar"})
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    for colour, (name, each) in zip(COLOURS, list(scores.items())[:MOST_IN_RADAR], strict=False):
        values = [each.get(category, math.nan) for category in categories]
        axes.plot([*angles, angles[0]], [*values, values[0]], color=colour, linewidth=1.8, label=name)
        axes.fill([*angles, angles[0]], [*values, values[0]], color=colour, alpha=0.07)
    axes.set_xticks(angles, categories, fontsize=9)
    axes.tick_params(axis="x", pad=9)
    axes.set_ylim(0, top)
    axes.set_yticks([top * step / 5 for step in range(1, 6)])
    axes.tick_params(axis="y", labelsize=7, labelcolor="#77706a")
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines["polar"].set_color(GRID)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def bars(
    rows: Sequence[tuple[str, float, float | None, float | None]],
    *,
    label: str,
    low: float,
    high: float,
    mark: float | None = None,
) -> "Figure":
    """A bar chart of (name, value, lower and upper bound), best first, with a reference line at `mark`."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: row[1])
    figure = Figure(figsize=(7.4, 0.9 + 0.36 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for place, (_, value, lower, upper) in enumerate(ordered):
        axes.barh(place, value - low, left=low, height=0.62, color=COLOURS[0], alpha=0.82)
        if lower is not None and upper is not None:
            axes.plot([lower, upper], [place, place], color="#1a1a1a", linewidth=1.3)
        end = value if upper is None else max(value, upper)
        axes.annotate(
            f"{value:.3g}",
            (end, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    if mark is not None:
        axes.axvline(mark, color=COLOURS[1], linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(ordered)), [name for name, *_ in ordered], fontsize=9)
    axes.set_xlim(low, high + 0.07 * (high - low))
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def shares(rows: Mapping[str, Mapping[str, float]], *, label: str) -> "Figure":
    """A grouped horizontal bar chart of shares in 0..1: one group per judge, one bar per check."""
    from matplotlib.figure import Figure

    checks = list(dict.fromkeys(check for each in rows.values() for check in each))
    count = sum(len(each) for each in rows.values()) + len(rows)
    figure = Figure(figsize=(7.4, 1.0 + 0.27 * count), layout="constrained")
    axes = figure.subplots()
    place, ticks, names = 0.0, [], []
    for name, each in rows.items():
        for number, check in enumerate(checks):
            if check not in each:
                continue
            axes.barh(place, each[check], height=0.8, color=COLOURS[number % len(COLOURS)], alpha=0.85)
            axes.annotate(
                f"{each[check]:.2f}",
                (each[check], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            ticks.append(place)
            names.append(f"{name}: {check}" if len(rows) > 1 else check)
            place += 1
        place += 0.7
    axes.set_yticks(ticks, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
