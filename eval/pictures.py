"""Pictures of evaluations, drawn with matplotlib's object interface, without a display."""

from pathlib import Path

import numpy as np

from eval.replay import Replay
from routers.request import Matrix

ROUTED, SINGLE, LINE, BASELINE = "#1f5fa8", "#c2571a", "#b9b2a6", "#6b7280"


def draw_curve(found: Replay, path: Path, title: str = "") -> None:
    """Score against average active parameters: the composition's curve and point, each expert alone,
    the straight lines between them (what mixing at random gets), and the baselines as levels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.2), layout="constrained")
    axes = figure.subplots()
    singles = sorted((each.active_params_b, each.score, name) for name, each in found.singles.items())
    hull = upper_hull(np.asarray([[size, score] for size, score, _ in singles]))
    axes.plot(hull[:, 0], hull[:, 1], color=LINE, linewidth=1.2, linestyle="--", label="mixing at random")
    axes.scatter(
        [s[0] for s in singles], [s[1] for s in singles], color=SINGLE, s=34, zorder=3, label="one expert"
    )
    for size, score, name in singles:
        axes.annotate(
            name, (size, score), xytext=(4, -11), textcoords="offset points", fontsize=7, color=SINGLE
        )
    points = sorted((each.active_params_b, each.score) for each in found.curve)
    axes.plot(
        [p[0] for p in points],
        [p[1] for p in points],
        color=ROUTED,
        linewidth=2,
        label="routed, by weight on size",
    )
    axes.scatter(
        [found.active_params_b],
        [found.score],
        color=ROUTED,
        s=70,
        marker="D",
        zorder=4,
        label="this composition",
    )
    for name in ("knn", "kmeans", "category_oracle"):
        axes.axhline(found.baselines[name], color=BASELINE, linewidth=0.7, linestyle=":")
        axes.annotate(
            name.replace("_", " "),
            (1.0, found.baselines[name]),
            xycoords=("axes fraction", "data"),
            xytext=(3, -2),
            textcoords="offset points",
            fontsize=7,
            color=BASELINE,
        )
    axes.set_xlabel("average active parameters, billions")
    axes.set_ylabel("mean score")
    axes.set_title(title or f"{found.n} prompts", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def upper_hull(points: Matrix) -> Matrix:
    """The upper convex hull of (cost, score) points, left to right up to the best score."""
    hull: list[tuple[float, float]] = []
    best = float("-inf")
    for cost, score in sorted((float(x), float(y)) for x, y in points):
        if score <= best:
            continue
        best = score
        while len(hull) > 1 and _above(hull[-2], hull[-1], (cost, score)):
            hull.pop()
        hull.append((cost, score))
    return np.asarray(hull, dtype=np.float32)


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or under the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
