"""The configurations of a sweep's grid: all combinations, named by their varied axes."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.sweeps.sweep_file import (
    LARGEST_GRID,
    LiveComposition,
    LiveGrid,
    LiveSweep,
    PromptConfig,
    ReplayComposition,
    ReplayGrid,
    ReplaySweep,
    StrategyConfig,
    SweepError,
)

NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ReplayPoint:
    """One configuration of a replay; `experts` None: all may answer."""

    name: str
    composition: ReplayComposition
    experts: tuple[str, ...] | None
    active_weight: float | None
    cost_weight: float | None
    compute_weight: float | None
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
    strategy: StrategyConfig | None
    prompt: PromptConfig


def replay_points(sweep: ReplaySweep) -> tuple[ReplayPoint, ...]:
    """All combinations of a replay's grid. Raises SweepError for too many."""
    return tuple(ReplayPoint(name=name, **values) for name, values in _combined(ReplayPoint, sweep.grid))


def live_points(sweep: LiveSweep) -> tuple[LivePoint, ...]:
    """All combinations of a live grid. Raises SweepError for too many."""
    return tuple(LivePoint(name=name, **values) for name, values in _combined(LivePoint, sweep.grid))


def settings_of(point: ReplayPoint | LivePoint) -> dict[str, Any]:
    """A configuration's settings, as JSON for reports."""
    found: dict[str, Any] = {"composition": point.composition.name}
    for axis in type(point).__dataclass_fields__:
        value = getattr(point, axis)
        if axis in {"name", "composition"} or value is None:
            continue
        found[axis] = _shown(value) if isinstance(value, StrategyConfig | PromptConfig | tuple) else value
    return found


def _combined(
    kind: type[ReplayPoint] | type[LivePoint], grid: ReplayGrid | LiveGrid
) -> list[tuple[str, dict[str, Any]]]:
    """(name, values by field of `kind`) of every combination of the grid's axes."""
    axes: dict[str, Sequence[Any]] = {
        axis: getattr(grid, {"composition": "compositions", "prompt": "prompts"}.get(axis, axis))
        for axis in kind.__dataclass_fields__
        if axis != "name"
    }
    axes["experts"] = [None if each == "all" else tuple(each) for each in grid.experts]
    count = math.prod(map(len, axes.values()))
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
        case ReplayComposition() | LiveComposition() | PromptConfig():
            return value.name
        case StrategyConfig():
            options = "" if not value.options else json.dumps(value.options, sort_keys=True)
            return value.label or f"{value.name}{options}"
        case tuple():
            return "+".join(value)
        case float():
            return f"{value:g}"
    return str(value)
