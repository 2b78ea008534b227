"""The Pareto figure of a sweep: quality against average active parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval.drawing import LINE, ROUTED, SINGLE
from eval.sweeps.sweep_summary import SummaryRow, SweepReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASELINE = "#6f6a60"
LISTED = 14
"""Maximum number of configurations on the front that are listed below the figure."""
Point = tuple[float, float]


def draw_pareto(report: SweepReport, path: Path) -> None:
    """Configurations with 95 % intervals, experts, baselines and the front, whose configurations are listed
    below with their numbers in the table."""
    from matplotlib.figure import Figure

    numbered = [
        (number, row)
        for number, row in enumerate(report.rows, start=1)
        if row.score is not None and row.active_params_b is not None
    ]
    drawn = [row for _, row in numbered]
    front = sorted({_point(row) for row in drawn if row.pareto})
    listed = _by_point([each for each in numbered if each[1].pareto and each[1].kind == "configuration"])
    figure = Figure(figsize=(9.5, 5.6 + 0.17 * min(len(listed), LISTED)), layout="constrained")
    axes = figure.subplots()
    if front:
        corners = list(zip(*front, strict=True))
        axes.step(*corners, where="post", color=LINE, linewidth=1.4, zorder=1, label="Pareto front")
    for kind, colour, marker, label in (
        ("configuration", ROUTED, "o", "configuration, 95 % interval"),
        ("expert", SINGLE, "s", "one expert"),
        ("baseline", BASELINE, "^", "baseline"),
    ):
        rows = [row for row in drawn if row.kind == kind]
        if not rows:
            continue
        across = [_point(row)[0] for row in rows]
        up = [_point(row)[1] for row in rows]
        if kind == "configuration":
            reach = [
                [each - (row.low or each) for each, row in zip(up, rows, strict=True)],
                [(row.high or each) - each for each, row in zip(up, rows, strict=True)],
            ]
            axes.errorbar(across, up, yerr=reach, fmt="none", ecolor=colour, alpha=0.2, zorder=2)
        axes.scatter(across, up, color=colour, marker=marker, s=34, zorder=3, label=label)
    axes.margins(x=0.12, y=0.1)
    for place, members in listed.items():
        _write(axes, place, ", ".join(str(number) for number, _ in members[:3]), ROUTED, above=True)
    _write_names(axes, [row for row in drawn if row.kind != "configuration"])
    names = [_line(members) for members in list(listed.values())[:LISTED]]
    axes.set_xlabel("\n".join(["average active parameters, billions", "", *names]), fontsize=8)
    axes.set_ylabel("mean score")
    count = sum(row.kind == "configuration" for row in report.rows)
    n = max((row.n for row in drawn), default=0)
    axes.set_title(f"{report.run}: {count} configurations, {n} prompts", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _point(row: SummaryRow) -> Point:
    return row.active_params_b or 0.0, row.score or 0.0


def _by_point(rows: Sequence[tuple[int, SummaryRow]]) -> dict[Point, list[tuple[int, SummaryRow]]]:
    found: dict[Point, list[tuple[int, SummaryRow]]] = {}
    for number, row in sorted(rows, key=lambda each: (_point(each[1]), each[0])):
        found.setdefault(_point(row), []).append((number, row))
    return found


def _line(members: Sequence[tuple[int, SummaryRow]]) -> str:
    number, row = members[0]
    more = f" (and {len(members) - 1} that score and cost the same)" if len(members) > 1 else ""
    return f"{number}: {row.name}{more}"


def _write_names(axes: "Axes", rows: Sequence[SummaryRow]) -> None:
    """Names beside points; almost coinciding points share one label."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    groups: list[list[SummaryRow]] = []
    for row in sorted(rows, key=_point):
        for group in groups:
            (x, y), (other_x, other_y) = _point(group[0]), _point(row)
            if abs(x - other_x) < 0.06 * (right - left) and abs(y - other_y) < 0.035 * (high - low):
                group.append(row)
                break
        else:
            groups.append([row])
    for group in groups:
        colour = SINGLE if any(row.kind == "expert" for row in group) else BASELINE
        _write(axes, _point(group[0]), ", ".join(row.name for row in group), colour)


def _write(axes: "Axes", place: Point, text: str, colour: str, *, above: bool = False) -> None:
    left, right = axes.get_xlim()
    far = place[0] > left + 0.6 * (right - left)
    shift = (-5, 5) if above else (-7 if far else 7, -11)
    side = "right" if far or above else "left"
    note = axes.annotate(
        text, place, xytext=shift, textcoords="offset points", ha=side, fontsize=7, color=colour
    )
    note.set_in_layout(False)
