"""From a sweep's grid to its configurations: every combination, named by what it varies."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.sweeps.sweep_file import (
    LARGEST_GRID,
    LiveComposition,
    LiveSweep,
    Prompt,
    ReplayComposition,
    ReplaySweep,
    Strategy,
    SweepError,
)

NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ReplayPoint:
    """One configuration of a replay."""

    name: str
    composition: ReplayComposition
    experts: tuple[str, ...] | None
    """Those that may answer; None: all."""
    active_weight: float | None
    price_weight: float | None
    target_active_b: float | None
    resident_budget_b: float | None
    threshold: float | None
    ood_threshold: float | None
    strategy: str


@dataclass(frozen=True, slots=True)
class LivePoint:
    """One configuration of a live sweep."""

    name: str
    composition: LiveComposition
    experts: tuple[str, ...] | None
    active_weight: float | None
    price_weight: float | None
    strategy: Strategy | None
    prompt: Prompt


def replay_points(sweep: ReplaySweep) -> tuple[ReplayPoint, ...]:
    """Every combination of a replay's grid. Raises SweepError for too many."""
    grid = sweep.grid
    axes: dict[str, Sequence[Any]] = {
        "composition": grid.compositions,
        "experts": [None if each == "all" else tuple(each) for each in grid.experts],
        "active_weight": grid.active_weight,
        "price_weight": grid.price_weight,
        "target_active_b": grid.target_active_b,
        "resident_budget_b": grid.resident_budget_b,
        "threshold": grid.threshold,
        "ood_threshold": grid.ood_threshold,
        "strategy": grid.strategy,
    }
    return tuple(ReplayPoint(name=name, **values) for name, values in _combined(axes))


def live_points(sweep: LiveSweep) -> tuple[LivePoint, ...]:
    """Every combination of a live grid. Raises SweepError for too many."""
    grid = sweep.grid
    axes: dict[str, Sequence[Any]] = {
        "composition": grid.compositions,
        "experts": [None if each == "all" else tuple(each) for each in grid.experts],
        "active_weight": grid.active_weight,
        "price_weight": grid.price_weight,
        "strategy": grid.strategy,
        "prompt": grid.prompts,
    }
    return tuple(LivePoint(name=name, **values) for name, values in _combined(axes))


def settings_of(point: ReplayPoint | LivePoint) -> dict[str, Any]:
    """What a configuration varies, as JSON for reports."""
    found: dict[str, Any] = {"composition": point.composition.name}
    for axis in type(point).__dataclass_fields__:
        value = getattr(point, axis)
        if axis in {"name", "composition"} or value is None:
            continue
        found[axis] = _shown(value) if isinstance(value, Strategy | Prompt | tuple) else value
    return found


def _combined(axes: Mapping[str, Sequence[Any]]) -> list[tuple[str, dict[str, Any]]]:
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > LARGEST_GRID:
        raise SweepError(f"the grid has {count:,} configurations, at most {LARGEST_GRID:,} make sense")
    varied = [axis for axis, values in axes.items() if len(values) > 1 or axis == "composition"]
    combined = []
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        combined.append((_name(point, varied), point))
    names = [name for name, _ in combined]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SweepError(f"the grid has {twice!r} more than once: an axis repeats a value")
    return combined


def _name(point: Mapping[str, Any], varied: Sequence[str]) -> str:
    parts = [
        _shown(point[axis]) if axis in {"composition", "prompt"} else f"{axis}={_shown(point[axis], axis)}"
        for axis in varied
    ]
    name = " ".join(parts)
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: NAME_LENGTH - 14]}… {digest}"


def _shown(value: Any, axis: str = "") -> str:
    match value:
        case None:
            return "all" if axis == "experts" else "default"
        case ReplayComposition() | LiveComposition() | Prompt():
            return value.name
        case Strategy():
            options = "" if not value.options else json.dumps(value.options, sort_keys=True)
            return value.label or f"{value.name}{options}"
        case tuple():
            return "+".join(value)
        case float():
            return f"{value:g}"
    return str(value)
