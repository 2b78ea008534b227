"""Figures of a fit and of a cost curve, written to files with matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.calibration import BINS, risk_coverage
from routers.cost_curve import CostCurve
from routers.request import Matrix, Vector

BLUE, GREEN, ORANGE, GREY = "#2563eb", "#15803d", "#ea580c", "#6b7280"
_UNITS = {
    "active_params_b": "average active parameters (billions)",
    "cost": "average cost of a request ($)",
    "compute": "average compute of a request (B·tokens)",
}


def draw_reliability(path: Path, confidence: Vector, correct: npt.NDArray[np.bool_]) -> None:
    """Reliability diagram: accuracy against confidence."""
    figure, axes = _figure(4.6, 4.2)
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    used = np.unique(bin_of)
    sizes = np.asarray([(bin_of == each).sum() for each in used])
    said = [float(confidence[bin_of == each].mean()) for each in used]
    right = [float(correct[bin_of == each].mean()) for each in used]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.plot(said, right, color=BLUE, linewidth=1.2)
    axes.scatter(said, right, s=12 + 160 * sizes / sizes.max(), color=BLUE, alpha=0.8)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="calibrated probability", ylabel="share that is right")
    axes.set_title("Reliability on held-out prompts")
    _save(figure, path)


def draw_risk_coverage(
    path: Path, confidence: Vector, correct: npt.NDArray[np.bool_], threshold: float
) -> None:
    """Risk-coverage curve with the threshold marked."""
    figure, axes = _figure(4.6, 4.2)
    curve = risk_coverage(confidence, correct)
    axes.plot(curve.coverage, curve.risk, color=BLUE)
    covered = float((confidence >= threshold).mean())
    axes.axvline(covered, color=ORANGE, linewidth=1, linestyle="--", label=f"threshold {threshold:.2f}")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share of requests called", ylabel="share of calls wrong")
    axes.set_title("Risk and coverage on held-out prompts")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_utilities(path: Path, utilities: Matrix, categories: Sequence[str], experts: Sequence[str]) -> None:
    """Heat map of the utilities, the best of each category in bold."""
    figure, axes = _figure(2.5 + 0.62 * len(experts), 1.6 + 0.24 * len(categories))
    image = axes.imshow(utilities, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(experts)), experts, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(categories)), categories, fontsize=7)
    middle = (float(utilities.min()) + float(utilities.max())) / 2
    for row, values in enumerate(utilities):
        for column, value in enumerate(values):
            axes.text(
                column, row, f"{float(value):.2f}", ha="center", va="center", fontsize=6,
                color="white" if value < middle else "black",
                fontweight="bold" if column == int(values.argmax()) else "normal",
            )  # fmt: skip
    figure.colorbar(image, ax=axes, fraction=0.04)
    axes.set_title("Expected score by category and expert")
    _save(figure, path)


def draw_curve(path: Path, curve: CostCurve, title: str, here: tuple[float, float] | None = None) -> None:
    """Score against cost: the composition's hull, the experts alone, and what mixing those gets."""
    figure, axes = _figure(6.4, 4.4)
    axes.plot([p.cost for p in curve.line], [p.score for p in curve.line], color=GREY, linestyle="--",
              label="mixing single experts by chance")  # fmt: skip
    axes.scatter([p.cost for p in curve.points], [p.score for p in curve.points], s=6, color=BLUE, alpha=0.35)
    axes.plot([p.cost for p in curve.hull], [p.score for p in curve.hull], color=BLUE, label="composition")
    for name, point in curve.singles:
        axes.scatter([point.cost], [point.score], s=18, color=GREY)
        axes.annotate(name, (point.cost, point.score), fontsize=6, xytext=(3, -8), textcoords="offset points")
    if curve.strategies:
        costs, scores = zip(*((p.cost, p.score) for p in curve.strategies), strict=True)
        axes.scatter(costs, scores, s=14, marker="^", color=GREEN, label="strategies of several experts")
        for point in curve.hull:
            if point.strategy is not None:
                axes.annotate(
                    point.strategy, (point.cost, point.score), fontsize=6, xytext=(3, 4),
                    textcoords="offset points", color=GREEN,
                )  # fmt: skip
    if here is not None:
        axes.scatter(
            [here[0]], [here[1]], s=60, marker="*", color=ORANGE, label="the fitted policy", zorder=3
        )
    axes.set(xlabel=_UNITS.get(curve.by, curve.by), ylabel="score", title=title)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.2)
    _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # Matplotlib's object interface has no global state and needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130, metadata={"Software": None})
