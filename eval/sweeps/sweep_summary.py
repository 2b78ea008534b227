"""The results of a sweep: one row per configuration and baseline, with the Pareto front."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from eval.paired_comparison import ScoreDifference, paired_interval
from eval.sweeps.fold_baselines import Column, FoldBaseline
from eval.sweeps.sweep_store import ItemRow

Kind = Literal["configuration", "baseline", "expert"]
BEST_SINGLE = "best_single"
CSV_COLUMNS = (
    "name", "kind", "n", "score", "low", "high", "active_params_b", "cost", "latency_s", "gain",
    "gain_low", "gain_high", "missing", "pareto",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """`score` with its 95 % bootstrap interval over prompts; means of `active_params_b` (billions), `cost`
    ($ per 1,000 requests) and `latency_s`, None if unknown; `gain`: paired
    difference to the best single expert; `missing`: prompts without a score.
    """

    name: str
    kind: Kind
    n: int
    score: float | None
    low: float | None
    high: float | None
    active_params_b: float | None
    cost: float | None
    latency_s: float | None
    gain: ScoreDifference | None
    missing: int = 0
    pareto: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """A sweep's result."""

    run: str
    kind: str
    rows: tuple[SummaryRow, ...]
    guard: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    complete: bool = True
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run,
            "kind": self.kind,
            "complete": self.complete,
            "rows": [asdict(row) for row in self.rows],
            "guard": dict(self.guard),
            "notes": list(self.notes),
            "manifest": dict(self.manifest),
        }

    def csv(self) -> str:
        """The table as CSV, with a column per setting."""
        settings = list(dict.fromkeys(key for row in self.rows for key in row.settings))
        out = io.StringIO()
        writer = csv.DictWriter(
            out, [*CSV_COLUMNS, *(f"setting.{key}" for key in settings)], extrasaction="ignore",
            lineterminator="\n",
        )  # fmt: skip
        writer.writeheader()
        for row in self.rows:
            gain = row.gain
            writer.writerow(
                asdict(row)
                | {"gain": gain and gain.difference, "gain_low": gain and gain.low}
                | {"gain_high": gain and gain.high}
                | {f"setting.{key}": value for key, value in row.settings.items()}
            )
        return out.getvalue()


def rows_of(
    items: Sequence[ItemRow],
    settings: Mapping[str, Mapping[str, Any]],
    baselines: Mapping[str, FoldBaseline],
    uids: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[SummaryRow, ...]:
    """The rows: configurations in the order of `settings`, then `baselines` (over `uids`)."""
    place = {uid: row for row, uid in enumerate(uids)}
    reference = baselines[BEST_SINGLE].scores if BEST_SINGLE in baselines else None
    by_name: dict[str, list[ItemRow]] = {name: [] for name in settings}
    for item in items:
        if item.configuration in by_name:
            by_name[item.configuration].append(item)
    rows = []
    for name, own in by_name.items():
        scored = [item for item in own if item.score is not None]
        scores = np.asarray([item.score for item in scored], dtype=np.float64)
        others = None
        if reference is not None:
            at = [place.get(item.uid, -1) for item in scored]
            others = np.asarray([reference[row] if row >= 0 else np.nan for row in at])
        rows.append(
            _row(
                name,
                "configuration",
                scores,
                others,
                seed,
                active_params_b=_mean([item.active_params_b for item in scored]),
                cost=_per_thousand([item.cost for item in scored]),
                latency_s=_mean([item.latency_s for item in scored]),
                missing=len(own) - len(scored),
                settings=settings[name],
            )
        )
    for name, baseline in baselines.items():
        kind: Kind = "expert" if name.startswith("expert ") else "baseline"
        rows.append(
            _row(
                name.removeprefix("expert "),
                kind,
                baseline.scores,
                None if name == BEST_SINGLE else reference,
                seed,
                active_params_b=float(np.mean(baseline.active_params_b)),
                cost=_per_thousand([None if np.isnan(cost) else float(cost) for cost in baseline.cost]),
            )
        )
    return _with_front(rows)


def _row(
    name: str,
    kind: Kind,
    scores: Column,
    reference: Column | None,
    seed: int,
    *,
    active_params_b: float | None,
    cost: float | None = None,
    latency_s: float | None = None,
    missing: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> SummaryRow:
    score = low = high = None
    gain = None
    if len(scores):
        mean = paired_interval(scores, np.zeros_like(scores), seed)
        score, low, high = mean.difference, mean.low, mean.high
        if reference is not None:
            both = ~np.isnan(reference)
            if both.any():
                gain = paired_interval(scores[both], reference[both], seed)
    facts = (active_params_b, cost, latency_s, gain, missing)
    return SummaryRow(name, kind, len(scores), score, low, high, *facts, settings=settings or {})


def _with_front(rows: Sequence[SummaryRow]) -> tuple[SummaryRow, ...]:
    """Marks the Pareto-optimal configurations and experts by score and active parameters."""
    able = [
        (row.active_params_b, row.score)
        for row in rows
        if row.score is not None and row.active_params_b is not None and row.kind != "baseline"
    ]
    marked = []
    for row in rows:
        size, score = row.active_params_b, row.score
        best = size is not None and score is not None and row.kind != "baseline"
        best = best and not any(
            other <= (size or 0.0) and quality >= (score or 0.0) and (other, quality) != (size, score)
            for other, quality in able
        )
        marked.append(replace(row, pareto=best))
    return tuple(marked)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _per_thousand(values: Sequence[float | None]) -> float | None:
    mean = _mean(values)
    return None if mean is None else 1000 * mean
