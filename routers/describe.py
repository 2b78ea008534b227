"""Summary of an outcome table: sizes, missing scores, best experts with their significance, and the
headroom of routing (oracles)."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable
from routers.request import Matrix
from routers.token_estimates import TokenCells, token_cells

RESAMPLES = 1_000
TIED = 1e-6
"""Scores that differ by no more are the same."""


@dataclass(frozen=True, slots=True)
class ExpertSummary:
    """`mean` over the `scored` prompts and its standard `error`; None with too few scores."""

    card: ExpertCard
    scored: int
    missing: int
    mean: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class CategorySummary:
    """A category's best expert by mean score and its lead over the second (`margin`).

    `margin_error`: standard error of the margin over prompts that both answered; `sure`: share of bootstrap
    resamples in which the same expert is best (ties count fractionally). None without scores to compare.
    """

    name: str
    prompts: int
    missing: int
    """Missing scores, of prompts × experts."""
    best: str | None
    best_mean: float | None
    second: str | None
    margin: float | None
    margin_error: float | None
    sure: float | None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Prompts equal up to case and white space: `groups` of them with `extra` prompts beyond the first of
    each; `conflicting` groups span several categories."""

    groups: int
    extra: int
    conflicting: int
    examples: tuple[tuple[str, ...], ...]
    """The uids of the largest groups."""


@dataclass(frozen=True, slots=True)
class Description:
    """`oracle`: mean of each prompt's best score; `best_single`: expert of best mean; `category_oracle`: mean
    score with each category at its best expert; `tied_at_top`, `all_tied`: shares of prompts with several
    best experts, and with equal scores throughout."""

    prompts: int
    unscored: int
    """Prompts without any score."""
    missing: int
    tokens: TokenCells
    experts: tuple[ExpertSummary, ...]
    categories: tuple[CategorySummary, ...]
    best_single: str | None
    oracle: float | None
    category_oracle: float | None
    tied_at_top: float | None
    all_tied: float | None
    duplicates: Duplicates


def describe(table: OutcomeTable, seed: int = 0) -> Description:
    """Summarise `table`; the same `seed` gives the same bootstrap."""
    experts = tuple(_expert(table, column) for column in range(len(table.experts)))
    random = np.random.default_rng(seed)
    names = sorted(set(table.categories))
    labels = np.asarray(table.categories, dtype=object)
    categories = tuple(
        _category(name, table.scores[labels == name], table.expert_names, random) for name in names
    )
    seen = ~np.isnan(table.scores)
    answered = seen.any(axis=1)
    known = [each for each in experts if each.mean is not None]
    mapped = [(c.best_mean, int(seen[labels == c.name].any(axis=1).sum())) for c in categories]
    scored = [(mean, count) for mean, count in mapped if mean is not None]
    return Description(
        prompts=len(table),
        unscored=int((~answered).sum()),
        missing=int((~seen).sum()),
        tokens=token_cells(table),
        experts=experts,
        categories=categories,
        best_single=max(known, key=lambda each: each.mean or 0.0).card.name if known else None,
        oracle=_mean(np.nanmax(table.scores[answered], axis=1)) if answered.any() else None,
        category_oracle=sum(m * n for m, n in scored) / sum(n for _, n in scored) if scored else None,
        tied_at_top=_tied(table.scores, everybody=False),
        all_tied=_tied(table.scores, everybody=True),
        duplicates=_duplicates(table),
    )


def _expert(table: OutcomeTable, column: int) -> ExpertSummary:
    scores = table.scores[:, column]
    known = scores[~np.isnan(scores)].astype(np.float64)
    return ExpertSummary(
        card=table.experts[column],
        scored=len(known),
        missing=len(scores) - len(known),
        mean=float(known.mean()) if len(known) else None,
        error=_standard_error(known),
    )


def _category(
    name: str, scores: Matrix, experts: tuple[str, ...], random: np.random.Generator
) -> CategorySummary:
    seen = ~np.isnan(scores)
    missing = int((~seen).sum())
    columns = np.flatnonzero(seen.any(axis=0))
    if not len(columns):
        return CategorySummary(name, len(scores), missing, None, None, None, None, None, None)
    filled = np.where(seen, scores, 0.0).astype(np.float64)[:, columns]
    seen = seen[:, columns]
    means = filled.sum(axis=0) / seen.sum(axis=0)
    order = np.argsort(-means, kind="stable")
    first = int(order[0])
    best, best_mean = experts[columns[first]], float(means[first])
    if len(columns) == 1:
        return CategorySummary(name, len(scores), missing, best, best_mean, None, None, None, None)
    second = int(order[1])
    both = seen[:, first] & seen[:, second]
    return CategorySummary(
        name=name,
        prompts=len(scores),
        missing=missing,
        best=best,
        best_mean=best_mean,
        second=experts[columns[second]],
        margin=best_mean - float(means[second]),
        margin_error=_standard_error(filled[both, first] - filled[both, second]),
        sure=_sureness(filled, seen, first, random),
    )


def _sureness(
    filled: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_], best: int, random: np.random.Generator
) -> float:
    """Share of bootstrap resamples of the prompts in which `best` has the highest mean."""
    prompts = len(filled)
    drawn = random.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES).astype(np.float64)
    counts = drawn @ seen
    # Experts without a score in a resample cannot be its best.
    means = np.where(counts > 0, drawn @ filled / np.maximum(counts, 1), -1.0)
    top = means >= means.max(axis=1, keepdims=True) - TIED
    return float((top[:, best] / top.sum(axis=1)).mean())


def _tied(scores: Matrix, *, everybody: bool) -> float | None:
    """Share of the prompts of at least two scores on which several, or all, are the highest."""
    seen = ~np.isnan(scores)
    compared = seen.sum(axis=1) >= 2
    if not compared.any():
        return None
    top = np.nanmax(scores[compared], axis=1, keepdims=True)
    at_top = (np.where(seen[compared], scores[compared], -1.0) >= top - TIED).sum(axis=1)
    return _mean(at_top == seen[compared].sum(axis=1) if everybody else at_top >= 2)


def _duplicates(table: OutcomeTable) -> Duplicates:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(table.prompts):
        rows[" ".join(prompt.casefold().split())].append(row)
    groups = sorted((each for each in rows.values() if len(each) > 1), key=lambda each: (-len(each), each))
    return Duplicates(
        groups=len(groups),
        extra=sum(len(each) - 1 for each in groups),
        conflicting=sum(len(Counter(table.categories[row] for row in each)) > 1 for each in groups),
        examples=tuple(tuple(table.uids[row] for row in each[:5]) for each in groups[:3]),
    )


def _standard_error(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _mean(values: npt.NDArray[np.float32] | npt.NDArray[np.bool_]) -> float:
    return float(np.mean(values, dtype=np.float64))
