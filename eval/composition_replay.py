"""Replay of a composition on an outcome table, with baselines on the same prompts; no expert is asked.
Fitting prompts and near duplicates of them are left out and counted, and so are prompts that go to an expert
who has no score there. A baseline is judged on the prompts where it has a score too."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.baselines import category_choices, kmeans_choices, knn_choices
from eval.decontamination import Fitted, Screening, screen
from eval.errors import EvalError
from eval.paired_comparison import (
    Answered,
    CategoryComparison,
    Comparison,
    Scores,
    compare,
    compare_by_category,
)
from routers.batch import choose, is_sure
from routers.calibration import expected_calibration_error
from routers.composition import Composition, ExpertCard
from routers.cost_curve import CostCurve, CurvePoint, cost_curve
from routers.embeddings import Progress
from routers.encoder import Encoder
from routers.estimate import Estimate, estimate_table
from routers.evidence import Evidence
from routers.features import features_of_prompts
from routers.outcome_table import OutcomeTable
from routers.request import Matrix
from routers.request_costs import cell_costs


class CompositionReplayError(EvalError):
    """The composition cannot be replayed on the table; the message says why."""


NEAR_DUPLICATE_TOLERANCE = 0.05
"""Share of near duplicates up to which they are kept (exam corpora have cases that differ only in the
question) and the score without them is reported too; above it they are left out as contamination."""


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
    baselines: Mapping[str, Comparison]
    """The composition beside each baseline that has a score on some of the prompts."""
    against: str
    """The single expert of `by_category`: the one named, else the best one by the fit."""
    by_category: tuple[CategoryComparison, ...]
    complete: int
    """How many of the prompts are scored for every expert: those of `curve`, `random` and `oracle`."""
    curve: CostCurve | None
    """Score against cost over weights on active parameters, and each expert alone; None without complete
    prompts."""
    alike: int
    """Near duplicates of fitting prompts among the `n`."""
    score_without_alike: float | None
    """The score without those; None if no others."""
    left_out_seen: int
    screening: Screening
    unscored: Mapping[str, int]
    """Prompts left out because the expert that they go to has no score, by that expert."""
    items: Mapping[str, tuple[str, ...] | tuple[float | None, ...]]
    """Columns over the prompts: `uid`, `expert`, `score`, and the score of each baseline, None unknown."""

    @property
    def left_out_unscored(self) -> int:
        return sum(self.unscored.values())

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
            "baselines": {name: each.theirs for name, each in self.baselines.items()},
            "curve": [_point(each) for each in self.curve.points] if self.curve else [],
            "standard_error": self.error,
            "sure": self.sure,
            "differences": {name: each.document() for name, each in self.baselines.items()},
            "against": self.against,
            "by_category": [each.document() for each in self.by_category],
            "complete": self.complete,
            "singles": {name: _point(each) for name, each in self.curve.singles} if self.curve else {},
            "left_out": {
                "fitted_on": self.left_out_seen,
                "near_duplicates": self.left_out_near,
                "unscored": self.left_out_unscored,
                "unscored_by_expert": dict(self.unscored),
            },
            "guard": self.screening.document(),
            "lookalikes": {"n": self.alike, "score_without": self.score_without_alike},
        }


def replay(
    composition: Composition,
    evidence: Evidence | None,
    table: OutcomeTable,
    encoder: Encoder,
    *,
    fitted: Fitted,
    allow_seen: bool = False,
    against: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Replay:
    """Score `composition` on `table`, beside baselines and the expert `against` alone. `knn`, `kmeans` and
    `category_oracle` need `evidence` to be fitted on. Unless `allow_seen`, prompts of `fitted` are left out,
    and near duplicates above NEAR_DUPLICATE_TOLERANCE. The table's other experts are ignored. Raises
    OutcomeError (an expert is missing), CompositionReplayError (no prompt left, or `against` is not in the
    composition)."""
    table = table.keep_experts(composition.expert_names)
    best = composition.expert_names[int(composition.global_utilities.argmax())]
    if against is not None and against not in composition.expert_names:
        raise CompositionReplayError(
            f"the composition has no expert {against}: it has {', '.join(composition.expert_names)}"
        )
    if evidence is not None:
        evidence = _narrow(evidence, composition)
    features = features_of_prompts(encoder, table.prompts, cache, progress)
    vectors = features[:, : encoder.dimension]
    screening = screen(table.prompts, fitted, vectors, allow_seen=allow_seen)
    alike = screening.near & ~screening.seen
    if alike.sum() <= NEAR_DUPLICATE_TOLERANCE * (~screening.seen).sum():
        screening = replace(screening, near=np.zeros_like(alike))
    unseen = ~screening.refused
    estimate = estimate_table(composition, features)
    chosen = choose(composition, composition.policy, estimate)
    scored = ~np.isnan(_scores(table, chosen))
    rows = np.flatnonzero(unseen & scored)
    unscored = Counter(composition.expert_names[column] for column in chosen[unseen & ~scored])
    if not len(rows):
        raise CompositionReplayError(
            f"nothing to judge on: of {len(table)} prompts {int((~unseen).sum())} were fitted on or are near "
            f"copies, and {unscored.total()} are not scored for the expert that they go to"
        )
    table, embeddings, estimate, chosen = table.take(rows), vectors[rows], estimate.take(rows), chosen[rows]
    paid = {
        kind: cell_costs(
            kind,
            composition.experts,
            composition.tokens,
            estimate.posterior,
            table.tokens_in,
            table.tokens_out,
        )
        for kind in ("cost", "compute")
    }
    every = np.arange(len(table))

    def by(columns: npt.NDArray[np.int64]) -> Answered:
        return Answered(_scores(table, columns), paid["compute"][every, columns].astype(np.float64))

    def alone(name: str) -> Answered:
        return by(np.full(len(table), composition.expert_names.index(name), dtype=np.int64))

    ours = by(chosen)
    rivals = {
        "random": Answered.scored(table.scores.mean(axis=1, dtype=np.float64)),
        "best_single": alone(best),
        **{name: by(columns) for name, columns in _fitted_choices(composition, evidence, table, embeddings)},
        "oracle": Answered.scored(table.scores.max(axis=1).astype(np.float64)),
        **({} if against is None else {against: alone(against)}),
    }
    compared = {name: compare(ours, theirs, seed) for name, theirs in rivals.items()}
    names = tuple(composition.expert_names[column] for column in chosen)
    active = np.asarray([card.active_params_b for card in composition.experts])
    prices = np.asarray([_list_price(card) for card in composition.experts])
    accuracy, ece = _stage1(composition, table, estimate)
    complete = ~np.isnan(table.scores).any(axis=1)
    curve = None
    if complete.any():
        curve = cost_curve(estimate.expected[complete], table.scores[complete], composition.experts)
    return Replay(
        n=len(table),
        score=float(ours.score.mean()),
        error=float(ours.score.std(ddof=1) / np.sqrt(len(table))) if len(table) > 1 else 0.0,
        active_params_b=float(active[chosen].mean()),
        price=_known_mean(prices[chosen]),
        cost=_known_mean(paid["cost"][every, chosen]),
        compute=_known_mean(ours.compute),
        sure=float(is_sure(composition.policy, estimate).mean()),
        category_accuracy=accuracy,
        ece=ece,
        baselines={name: each for name, each in compared.items() if each is not None},
        against=against or best,
        by_category=compare_by_category(ours, alone(against or best), table.categories, names, seed),
        complete=int(complete.sum()),
        curve=curve,
        items={
            "uid": table.uids,
            "expert": names,
            "score": tuple(ours.score.tolist()),
            "active_params_b": tuple(active[chosen].tolist()),
            **{name: _known(theirs.score) for name, theirs in rivals.items()},
        },
        alike=int(alike[rows].sum()),
        score_without_alike=float(ours.score[~alike[rows]].mean()) if not alike[rows].all() else None,
        left_out_seen=int((~unseen & screening.seen).sum()),
        screening=screening,
        unscored=unscored,
    )


def _fitted_choices(
    composition: Composition, evidence: Evidence | None, table: OutcomeTable, embeddings: Matrix
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The choices of the baselines that are fitted on the evidence; none without it."""
    if evidence is None:
        return []
    return [
        ("knn", knn_choices(evidence, embeddings)),
        ("kmeans", kmeans_choices(evidence, embeddings)),
        ("category_oracle", category_choices(evidence, composition.categories, table.categories)),
    ]


def _scores(table: OutcomeTable, chosen: npt.NDArray[np.int64]) -> Scores:
    return table.scores[np.arange(len(table)), chosen].astype(np.float64)


def _known(scores: Scores) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(each) else each for each in scores.tolist())


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
