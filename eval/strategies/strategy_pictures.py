"""The figure of a replay of strategies: score against average active parameters."""

from pathlib import Path

import numpy as np

from base.files import replacing
from eval.strategies.strategy_replay import StrategyReport

COLOURS = {
    "single": "#8a8178",
    "majority": "#b98b2f",
    "vote": "#4a8f5b",
    "cascade": "#c2571a",
    "panel": "#7a4fa3",
    "stopping": "#1f5fa8",
    "mixed": "#b3243f",
}
EXPERT, LINE = "#3d3a36", "#b9b2a6"


def draw_strategies(report: StrategyReport, path: Path) -> None:
    """The strategies' curves, single experts, baselines and the hull of all."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(9.6, 6.0), layout="constrained")
    axes = figure.subplots()
    costs, scores = zip(*((active, score) for _, active, score in report.pareto), strict=True)
    # The hull is straight on a linear axis.
    between = np.geomspace(costs[0], costs[-1], 200)
    hull = np.interp(between, costs, scores)
    axes.plot(between, hull, color=LINE, linewidth=5, alpha=0.6, label="hull of all", zorder=1)
    for name, colour in COLOURS.items():
        points = sorted(
            (p.active_params_b, p.score) for p in report.points if p.name == name and p.within_b is not None
        )
        if points:
            costs, scores = zip(*points, strict=True)
            axes.plot(costs, scores, color=colour, marker="o", markersize=4, label=name, zorder=3)
    composed = next(p for p in report.points if p.within_b is None)
    own = [composed.active_params_b], [composed.score]
    axes.scatter(*own, color="black", marker="D", s=46, zorder=5, label="composition")
    best = sorted(report.singles.items(), key=lambda each: -each[1][0])
    singles = [active for _, (_, active) in best], [score for _, (score, _) in best]
    axes.scatter(*singles, color=EXPERT, marker="x", s=26, zorder=2, label="one expert")
    for name, (score, active) in best[:3]:
        axes.annotate(
            name, (active, score), xytext=(6, -4), textcoords="offset points", fontsize=7, color=EXPERT
        )
    for name, style in (("category_oracle", ":"), ("best_single", "--")):
        axes.axhline(report.baselines[name][0], color=LINE, linewidth=1, linestyle=style, zorder=0)
        axes.annotate(
            name.replace("_", " "), (1, report.baselines[name][0]), xycoords=("axes fraction", "data"),
            xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=7, color="#77706a",
        )  # fmt: skip
    lowest = min(each.score for each in report.points)
    axes.set_ylim(bottom=lowest - 0.35 * (max(each.score for each in report.points) - lowest))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("average active parameters of all experts that ran, billions")
    axes.set_ylabel("mean score")
    axes.set_title(f"{report.n} prompts, fitted on other folds", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format=path.suffix.lstrip(".") or "png")
