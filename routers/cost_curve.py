"""Quality-cost curve of a composition over the weight on active parameters, dollars or compute.

The upper concave hull of the points is attainable by randomising between two weights; the baseline is the
hull of the single experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.request import Matrix

CurveBy = Literal["active_params_b", "cost", "compute"]
Floats = npt.NDArray[np.float64]
POINTS = 120
"""Maximum number of points."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Average `cost` (in the unit of the curve's `by`) and `score`, of one expert for each request at a
    `weight` on cost, or of a fitted `strategy`."""

    weight: float
    cost: float
    score: float
    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class CostCurve:
    """`points` by rising cost, `strategies`, and the `hull` of both; `singles`, the experts alone, and their
    hull `line`. `by` is
    "active_params_b" (billions), "cost" ($ a request) or "compute" (B·tokens a request)."""

    by: str
    points: tuple[CurvePoint, ...]
    hull: tuple[CurvePoint, ...]
    singles: tuple[tuple[str, CurvePoint], ...]
    line: tuple[CurvePoint, ...]
    strategies: tuple[CurvePoint, ...] = ()

    def with_strategies(self, strategies: Sequence[CurvePoint]) -> "CostCurve":
        """The curve over one expert and these strategies."""
        hull = upper_hull((*self.points, *strategies))
        return replace(self, strategies=tuple(strategies), hull=hull)

    def document(self) -> dict[str, Any]:
        """The curve as JSON."""

        def plain(points: Sequence[CurvePoint]) -> list[dict[str, float | str]]:
            return [
                {
                    **({"weight": point.weight} if point.strategy is None else {"strategy": point.strategy}),
                    self.by: float(f"{point.cost:.6g}"),
                    "score": round(point.score, 5),
                }
                for point in points
            ]

        return {
            "by": self.by,
            "curve": plain(self.points),
            "strategies": plain(self.strategies),
            "hull": plain(self.hull),
            "experts": [
                {"expert": name, self.by: float(f"{point.cost:.6g}"), "score": round(point.score, 5)}
                for name, point in self.singles
            ],
            "experts_hull": plain(self.line),
        }


def cost_curve(
    expected: Matrix,
    scores: Matrix,
    experts: Sequence[ExpertCard],
    by: CurveBy = "active_params_b",
    costs: Matrix | None = None,
    paid: Matrix | None = None,
) -> CostCurve:
    """The curve of decisions by `expected` (prompts, experts), evaluated on `scores` (NaN where unknown).

    `costs` (prompts, experts): what decisions expect to pay, by default active parameters; `paid`: what was
    paid, by default the same."""
    shape = (len(expected), len(experts))
    if costs is None:
        costs = np.broadcast_to([card.active_params_b for card in experts], shape)
    expensive: Floats = np.asarray(costs, dtype=np.float64)
    spent: Floats = expensive if paid is None else np.asarray(paid, dtype=np.float64)
    rows = np.arange(len(expected))

    def at(weight: float) -> CurvePoint:
        chosen = (expected - weight * expensive).argmax(axis=1)
        score = float(np.nanmean(scores[rows, chosen]))
        return CurvePoint(weight, float(spent[rows, chosen].mean()), score)

    points = _thinned({point.cost: point for point in map(at, _weights(expected, expensive))})
    singles = tuple(
        (card.name, CurvePoint(0.0, float(spent[:, column].mean()), float(np.nanmean(scores[:, column]))))
        for column, card in enumerate(experts)
    )
    return CostCurve(by, points, upper_hull(points), singles, upper_hull([point for _, point in singles]))


def upper_hull(points: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    """The upper concave hull, by rising cost and score."""
    hull: list[CurvePoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if hull and point.score <= hull[-1].score:
            continue
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return tuple(hull)


def score_at(hull: Sequence[CurvePoint], cost: float) -> float | None:
    """The hull's score at average `cost`; None below its cheapest point."""
    if not hull or cost < hull[0].cost:
        return None
    return float(np.interp(cost, [point.cost for point in hull], [point.score for point in hull]))


def _turns_up(first: CurvePoint, middle: CurvePoint, last: CurvePoint) -> bool:
    return (middle.score - first.score) * (last.cost - first.cost) <= (last.score - first.score) * (
        middle.cost - first.cost
    )


def _weights(expected: Matrix, costs: Floats) -> list[float]:
    """Quantiles of the weights at which decisions change, from 0 to the largest."""
    best = expected.argmax(axis=1)
    rows = np.arange(len(expected))
    saved = costs[rows, best][:, None] - costs
    lost = expected[rows, best][:, None] - expected
    changes = (lost / np.where(saved > 0, saved, np.inf))[saved > 0]
    if not len(changes):
        return [0.0]
    levels = np.quantile(changes, np.linspace(0, 1, 3 * POINTS))
    return [0.0, *(float(level) * (1 + 1e-9) for level in np.unique(levels)), float(levels[-1]) * 2 + 1e-9]


def _thinned(by_cost: dict[float, CurvePoint]) -> tuple[CurvePoint, ...]:
    points = [by_cost[cost] for cost in sorted(by_cost)]
    if len(points) <= POINTS:
        return tuple(points)
    kept = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    return tuple(points[each] for each in kept)
