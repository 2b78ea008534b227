"""Replay of a composition on an outcome table, with baselines on the same prompts; no expert is asked.
Fitting prompts and near duplicates of them are left out and counted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.baselines import best_single, category_choices, kmeans_choices, knn_choices
from eval.decontamination import Fitted, Screening, screen
from eval.errors import EvalError
from eval.rating.resampling import interval, resampled_means
from routers.batch import choose, is_sure
from routers.calibration import expected_calibration_error
from routers.composition import Composition, ExpertCard
from routers.cost_curve import CostCurve, CurvePoint, cost_curve
from routers.embeddings import Progress, encode_cached
from routers.encoder import Encoder
from routers.estimate import Estimate, estimate_table
from routers.evidence import Evidence
from routers.features import with_text_parts
from routers.fingerprints import fingerprints_of
from routers.outcome_table import OutcomeTable
from routers.request import Matrix
from routers.request_costs import cell_costs

ROUNDS = 2000
"""Bootstrap resamples."""

Scores = npt.NDArray[np.float64]


class CompositionReplayError(EvalError):
    """The composition cannot be replayed on the table; the message says why."""


NEAR_DUPLICATE_TOLERANCE = 0.05
"""Share of near duplicates up to which they are kept (exam corpora have cases that differ only in the
question) and the score without them is reported too; above it they are left out as contamination."""


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """A paired difference in mean score with its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Replay:
    """Results over `n` prompts; scores 0..1, `cost` in $ and `compute` in B·tokens a request, None when
    unknown of an expert that was chosen."""

    n: int
    score: float
    error: float
    """Standard error of `score`."""
    active_params_b: float
    price: float | None
    """$ per million tokens of prompt and answer in equal parts: a list price, which knows no tokens."""
    cost: float | None
    compute: float | None
    sure: float
    """Share of prompts with a confident stage-1 category."""
    category_accuracy: float | None
    """None if no prompt has a category of the composition."""
    ece: float | None
    baselines: Mapping[str, float]
    differences: Mapping[str, ScoreDifference]
    """Composition minus baseline, paired by prompt."""
    curve: CostCurve
    """Score against cost over weights on active parameters, and each expert alone."""
    alike: int
    """Near duplicates of fitting prompts among the `n`."""
    score_without_alike: float | None
    """The score without those; None if no others."""
    left_out_seen: int
    screening: Screening
    left_out_unscored: int
    items: Mapping[str, tuple[str, ...] | tuple[float, ...]]
    """Columns over the prompts: `uid`, `expert`, `score`, and the score of each baseline."""

    @property
    def left_out_near(self) -> int:
        """Near duplicates left out."""
        return int(self.screening.refused.sum()) - self.left_out_seen

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "n": self.n,
            "score": self.score,
            "active_params_b": self.active_params_b,
            "price": self.price,
            "cost": self.cost,
            "compute": self.compute,
            "category_accuracy": self.category_accuracy,
            "ece": self.ece,
            "baselines": dict(self.baselines),
            "curve": [_point(each) for each in self.curve.points],
            "standard_error": self.error,
            "sure": self.sure,
            "differences": {
                name: {"difference": each.difference, "low": each.low, "high": each.high}
                for name, each in self.differences.items()
            },
            "singles": {name: _point(each) for name, each in self.curve.singles},
            "left_out": {
                "fitted_on": self.left_out_seen,
                "near_duplicates": self.left_out_near,
                "unscored": self.left_out_unscored,
            },
            "guard": self.screening.document(),
            "lookalikes": {"n": self.alike, "score_without": self.score_without_alike},
        }


def replay(
    composition: Composition,
    evidence: Evidence,
    table: OutcomeTable,
    encoder: Encoder,
    *,
    fitted: Fitted | None = None,
    allow_seen: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Replay:
    """Score `composition` on `table`; baselines are fitted on `evidence`. Unless `allow_seen`, prompts of
    `fitted` (default: of `evidence`) are left out, and near duplicates above NEAR_DUPLICATE_TOLERANCE. The
    table's other experts are ignored. Raises OutcomeError (an expert is missing), CompositionReplayError (no
    prompt left)."""
    table = table.keep_experts(composition.expert_names)
    fitted = fitted or Fitted(fingerprints_of(()), frozenset(evidence.prompt_digests), source="evidence")
    evidence = _narrow(evidence, composition)
    vectors = encode_cached(encoder, table.prompts, cache, progress)
    screening = screen(table.prompts, fitted, vectors, allow_seen=allow_seen)
    alike = screening.near & ~screening.seen
    if alike.sum() <= NEAR_DUPLICATE_TOLERANCE * (~screening.seen).sum():
        screening = replace(screening, near=np.zeros_like(alike))
    unseen = ~screening.refused
    scored = ~np.isnan(table.scores).any(axis=1)
    rows = np.flatnonzero(unseen & scored)
    if not len(rows):
        raise CompositionReplayError(
            f"nothing to judge on: of {len(table)} prompts {int((~unseen).sum())} were fitted on or are near "
            f"copies, and {int((unseen & ~scored).sum())} are not scored for every expert"
        )
    table, embeddings = table.take(rows), vectors[rows]
    estimate = estimate_table(composition, with_text_parts(embeddings, table.prompts))
    chosen = choose(composition, composition.policy, estimate)
    routed = _scores(table, chosen)
    baselines = _baselines(composition, evidence, table, embeddings)
    active = np.asarray([card.active_params_b for card in composition.experts])
    prices = np.asarray([_list_price(card) for card in composition.experts])
    taken = {
        kind: cell_costs(
            kind,
            composition.experts,
            composition.tokens,
            estimate.posterior,
            table.tokens_in,
            table.tokens_out,
        )[np.arange(len(table)), chosen]
        for kind in ("cost", "compute")
    }
    accuracy, ece = _stage1(composition, table, estimate)
    return Replay(
        n=len(table),
        score=float(routed.mean()),
        error=float(routed.std(ddof=1) / np.sqrt(len(routed))) if len(routed) > 1 else 0.0,
        active_params_b=float(active[chosen].mean()),
        price=_known_mean(prices[chosen]),
        cost=_known_mean(taken["cost"]),
        compute=_known_mean(taken["compute"]),
        sure=float(is_sure(composition.policy, estimate).mean()),
        category_accuracy=accuracy,
        ece=ece,
        baselines={name: float(scores.mean()) for name, scores in baselines.items()},
        differences={name: paired_interval(routed, scores, seed) for name, scores in baselines.items()},
        curve=cost_curve(estimate.expected, table.scores, composition.experts),
        items={
            "uid": table.uids,
            "expert": tuple(composition.expert_names[column] for column in chosen),
            "score": tuple(routed.tolist()),
            "active_params_b": tuple(active[chosen].tolist()),
            **{name: tuple(scores.tolist()) for name, scores in baselines.items()},
        },
        alike=int(alike[rows].sum()),
        score_without_alike=float(routed[~alike[rows]].mean()) if not alike[rows].all() else None,
        left_out_seen=int((~unseen & screening.seen).sum()),
        screening=screening,
        left_out_unscored=int((unseen & ~scored).sum()),
    )


def paired_interval(ours: Scores, theirs: Scores, seed: int = 0) -> ScoreDifference:
    """The mean of ours - theirs over prompts, with its 95 % percentile bootstrap interval."""
    differences = (ours - theirs).astype(np.float64)
    low, high = interval(resampled_means(differences[:, None], ROUNDS, seed), 0.95)
    return ScoreDifference(float(differences.mean()), float(low[0]), float(high[0]))


def _baselines(
    composition: Composition, evidence: Evidence, table: OutcomeTable, embeddings: Matrix
) -> dict[str, Scores]:
    """Scores of each baseline by prompt; expected scores for `random`."""
    single = np.full(len(table), best_single(evidence), dtype=np.int64)
    return {
        "random": table.scores.mean(axis=1, dtype=np.float64),
        "best_single": _scores(table, single),
        "knn": _scores(table, knn_choices(evidence, embeddings)),
        "kmeans": _scores(table, kmeans_choices(evidence, embeddings)),
        "category_oracle": _scores(
            table, category_choices(evidence, composition.categories, table.categories)
        ),
        "oracle": table.scores.max(axis=1).astype(np.float64),
    }


def _scores(table: OutcomeTable, chosen: npt.NDArray[np.int64]) -> Scores:
    return table.scores[np.arange(len(table)), chosen].astype(np.float64)


def _stage1(
    composition: Composition, table: OutcomeTable, estimate: Estimate
) -> tuple[float | None, float | None]:
    """Stage-1 accuracy and calibration on prompts of the composition's categories."""
    index = {name: column for column, name in enumerate(composition.categories)}
    known = np.asarray([category in index for category in table.categories])
    if not known.any():
        return None, None
    truth = np.asarray([index.get(category, -1) for category in table.categories])
    correct = (estimate.posterior.argmax(axis=1) == truth)[known]
    confidence = estimate.posterior.max(axis=1)[known]
    return float(correct.mean()), expected_calibration_error(confidence, correct)


def _narrow(evidence: Evidence, composition: Composition) -> Evidence:
    """The evidence of the composition's experts, without unscored prompts."""
    columns = [evidence.experts.index(name) for name in composition.expert_names if name in evidence.experts]
    if len(columns) < len(composition.experts):
        joined = [name for name in composition.expert_names if name not in evidence.experts]
        raise CompositionReplayError(
            f"{', '.join(joined)} joined after the fit, so baselines cannot be chosen for them: fit again"
        )
    scores = evidence.scores[:, columns]
    rows = ~np.isnan(scores).all(axis=1)
    return Evidence(
        evidence.embeddings[rows],
        scores[rows],
        evidence.labels[rows],
        evidence.prompt_digests,
        composition.expert_names,
    )


def _point(point: CurvePoint) -> dict[str, float]:
    return {"active_params_b": point.cost, "score": point.score}


def _list_price(card: ExpertCard) -> float:
    """Mean of input and output price, NaN unknown."""
    if card.price_input is None or card.price_output is None:
        return float("nan")
    return (card.price_input + card.price_output) / 2


def _known_mean(values: npt.NDArray[Any]) -> float | None:
    mean = float(values.mean())
    return None if np.isnan(mean) else mean
