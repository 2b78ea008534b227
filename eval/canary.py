"""Whether a canary may be promoted: the scores of both compositions on live requests.

Paired: on each request that the routers decided freely, both compositions are asked whom they would choose.
Where that is the same expert the difference is 0; else the score of one answer less that of the other counts,
if both are rated (one of them is a shadow answer). Not all requests are shadowed and rated, so the difference
over all is the share of requests that they would answer differently, times the mean difference of the rated
ones. Without kept prompts only the means of the two groups of conversations are compared.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from eval.offpolicy import Column, Estimated, Target, bootstrapped
from eval.traffic import Logged, reward

ROUNDS = 2000
LEAST = 30
"""Rated requests that the two would answer differently, or rated answers of each, that a verdict takes."""
NOT_CHOSEN = frozenset({"pinned", "rule", "held", "sticky", "spilled", "filtered", "explored", "limited"})
"""Reasons for which an expert answered that no composition had chosen."""

Verdict = Literal["promote", "wait", "stop"]


@dataclass(frozen=True, slots=True)
class Side:
    """One composition's own requests: how many, how many of them failed, the mean score of the rated ones,
    mean active parameters (billions) and median seconds."""

    composition: str
    requests: int
    failed: int
    rated: int
    score: float | None
    active_params_b: float | None
    median_s: float | None


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """`difference`: canary less served; `by` says how it was found. `same` and `different`: requests on which
    they choose the same expert and another one, `compared` of the latter are rated under both."""

    served: Side
    canary: Side
    by: Literal["paired", "groups"]
    same: int
    different: int
    compared: int
    difference: Estimated | None
    margin: float
    verdict: Verdict
    why: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge_canary(
    log: Sequence[Logged],
    served: str,
    canary: str,
    targets: tuple[Target, Target] | None,
    *,
    margin: float = 0.0,
    least: int = LEAST,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> CanaryReport:
    """Compare the compositions with the digests `served` and `canary` on the requests that either decided.

    `targets`: whom each would choose; None when prompts are not kept. The canary may be promoted when the
    95 % interval of the difference lies above -`margin`, and is to be stopped when it lies below.
    """
    log = [each for each in log if each.composition in (served, canary)]
    sides = _side(log, served), _side(log, canary)
    rows = [] if targets is None else _rows(log, targets)
    paired = np.asarray(rows, dtype=np.float64).reshape(-1, 3)
    different, compared = int(paired[:, 0].sum()), int(paired[:, 1].sum())
    if targets is not None and len(paired):
        found = bootstrapped(paired, _overall, rounds, seed) if compared else None
        if not different:
            found = Estimated(0.0, 0.0, 0.0)
        enough = compared >= least or not different
        missing = (
            f"{compared} requests that they answer differently are rated under both, the verdict takes "
            f"{least}: shadow more of them (COTERIE_SHADOW_RATE) and rate them (`coterie eval feedback`)"
        )
        by: Literal["paired", "groups"] = "paired"
    else:
        found = _groups(log, served, canary, rounds, seed)
        enough = min(side.rated for side in sides) >= least
        rated = f"{sides[0].rated} and {sides[1].rated}"
        missing = f"the verdict takes {least} rated answers of each, there are {rated}"
        by = "groups"
    verdict, why = _verdict(found if enough else None, margin, missing)
    return CanaryReport(
        *sides,
        by=by,
        same=len(paired) - different,
        different=different,
        compared=compared,
        difference=found,
        margin=margin,
        verdict=verdict,
        why=why,
    )


def _rows(log: Sequence[Logged], targets: tuple[Target, Target]) -> list[tuple[float, float, float]]:
    """(chosen differently, rated under both, difference) of each request that was freely decided."""
    rows = []
    for each in log:
        if each.status != "ok" or each.strategy != "single" or each.reason in NOT_CHOSEN:
            continue
        one, other = (target(each) for target in targets)
        if one is None or other is None:
            continue
        if one == other:
            rows.append((0.0, 0.0, 0.0))
            continue
        rated = {each.expert: reward(each.feedback)}
        for shadow in each.shadows:
            if shadow.status == "ok" and rated.get(shadow.expert) is None:
                rated[shadow.expert] = reward(shadow.feedback)
        before, after = rated.get(one), rated.get(other)
        known = before is not None and after is not None
        rows.append((1.0, float(known), (after or 0.0) - (before or 0.0) if known else 0.0))
    return rows


def _overall(means: Column) -> Column:
    """The share of different requests times the mean difference of those that are rated."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Column = means[..., 0] * means[..., 2] / means[..., 1]
    return found


def _groups(log: Sequence[Logged], served: str, canary: str, rounds: int, seed: int) -> Estimated | None:
    """The difference of the means of the rated answers."""
    rated = [
        (each.composition == canary, score) for each in log if (score := reward(each.feedback)) is not None
    ]
    ours = np.asarray([mine for mine, _ in rated], dtype=np.float64)
    scores = np.asarray([score for _, score in rated], dtype=np.float64)
    if not 0 < ours.sum() < len(ours):
        return None
    columns = np.column_stack([ours, ours * scores, 1 - ours, (1 - ours) * scores])

    def difference(means: Column) -> Column:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Column = means[..., 1] / means[..., 0] - means[..., 3] / means[..., 2]
        return found

    return bootstrapped(columns, difference, rounds, seed)


def _verdict(found: Estimated | None, margin: float, missing: str) -> tuple[Verdict, str]:
    if found is None or math.isnan(found.value):
        return "wait", missing
    limits = f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    said = f"the canary's score less the served one's is {limits}"
    if found.low >= -margin and (margin > 0 or found.low > 0):
        return "promote", f"{said}, above {0 - margin:g} for certain"
    if found.high < -margin:
        return "stop", f"{said}, below {0 - margin:g} for certain"
    return "wait", f"{said}: more ratings, or a wider --margin, settle it"


def _side(log: Sequence[Logged], digest: str) -> Side:
    mine = [each for each in log if each.composition == digest]
    scores = [score for each in mine if (score := reward(each.feedback)) is not None]
    sizes = [
        choice.active_params_b for each in mine for choice in each.ranking if choice.expert == each.expert
    ]
    seconds = [each.latency_ms / 1000 for each in mine if each.latency_ms is not None and each.status == "ok"]
    return Side(
        digest,
        len(mine),
        sum(each.status == "error" for each in mine),
        len(scores),
        float(np.mean(scores)) if scores else None,
        float(np.mean(sizes)) if sizes else None,
        float(np.median(seconds)) if seconds else None,
    )
