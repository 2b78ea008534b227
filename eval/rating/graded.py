"""Ratings of graded answers: mean scores by model, turn and category with intervals, as in MT-Bench (Zheng et
al. 2023, arXiv 2306.05685; FastChat's show_result)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.rating.pairwise import adjusted, compare_scores
from eval.rating.ranks import rank_limits, ranks
from eval.rating.resampling import Floats, interval, multiplicities, sums_by_question
from eval.rating.settings import RatingSettings
from eval.rating.table import GradedTable, code


def rate_graded(table: GradedTable, settings: RatingSettings) -> dict[str, Any]:
    """The document of `coterie eval rate --json`."""
    table, judges = _judged_apart(table)
    everything = np.ones(len(table), dtype=np.bool_)
    overall = _Means(table, everything, settings)
    turns = {
        int(turn): _Means(table, table.turn == turn, settings) for turn in np.unique(table.turn).tolist()
    }
    categories = {
        name: _Means(table, table.category.codes == number, settings)
        for number, name in sorted(enumerate(table.category.names), key=lambda each: each[1])
    }
    placed = ranks(overall.mean)
    places = rank_limits(overall.samples, settings.confidence)
    models = []
    for model in np.argsort(placed, kind="stable").tolist():
        name = table.model.names[model]
        entry: dict[str, Any] = {"model": name}
        if judges:
            entry["judge"] = judges[name]
        models.append(
            entry
            | overall.cell(model)
            | {
                "rank": int(placed[model]),
                "rank_low": int(places[0][model]),
                "rank_high": int(places[1][model]),
                "n_questions": int(overall.questions[model]),
                "unscored": table.unscored.get(name, 0),
                "turns": {str(turn): part.cell(model) for turn, part in turns.items() if part.n[model]},
            }
            | (
                {"categories": {each: part.cell(model) for each, part in categories.items() if part.n[model]}}
                if categories
                else {}
            )
        )
    return {
        "kind": "graded",
        "score_is": "mean of the judge's scores from 1 to 10 over all turns",
        "n_questions": len(table.question.names),
        "n_verdicts": len(table),
        "n_unscored": sum(table.unscored.values()),
        "models": models,
        "comparisons": _neighbours(table, models, settings),
        "settings": settings.document(),
        "ignored_columns": list(table.ignored),
        "notes": list(table.notes),
    }


class _Means:
    """Mean scores of the models over some rows, with bootstrap samples by question."""

    def __init__(self, table: GradedTable, rows: npt.NDArray[np.bool_], settings: RatingSettings) -> None:
        questions, models = len(table.question.names), len(table.model.names)
        where = table.question.codes[rows], table.model.codes[rows]
        sums = sums_by_question(*where, table.score[rows], questions, models)
        counts = sums_by_question(*where, np.ones(int(rows.sum())), questions, models)
        self.n = counts.sum(axis=0).astype(np.int64)
        self.questions = (counts > 0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            self.mean: Floats = sums.sum(axis=0) / self.n
            self.samples: Floats = np.concatenate(
                [
                    (drawn @ sums) / (drawn @ counts)
                    for drawn in multiplicities(questions, settings.rounds, settings.seed, models)
                ]
            )
        self.low, self.high = interval(self.samples, settings.confidence)

    def cell(self, model: int) -> dict[str, Any]:
        return {
            "score": float(self.mean[model]),
            "low": float(self.low[model]),
            "high": float(self.high[model]),
            "n": int(self.n[model]),
        }


def _judged_apart(table: GradedTable) -> tuple[GradedTable, dict[str, str]]:
    """As `eval.rating.pairwise.split_by_judge`."""
    if not table.judge.names:
        return table, {}
    first: dict[int, int] = {}
    names, judge_of = [], {}
    for model, judge in zip(table.model.codes.tolist(), table.judge.codes.tolist(), strict=True):
        name = table.model.names[model]
        told = table.judge.names[judge] if judge >= 0 else ""
        if first.setdefault(model, judge) != judge:
            name = f"{name} [{told or 'unnamed judge'}]"
        judge_of[name] = told
        names.append(name)
    return replace(table, model=code(names)), judge_of


def _neighbours(
    table: GradedTable, models: Sequence[dict[str, Any]], settings: RatingSettings
) -> list[dict[str, Any]]:
    """Each model against the next in rank under the same judge, by mean score per question."""
    size = len(table.question.names)

    def by_question(name: str) -> Floats:
        rows = table.model.codes == table.model.names.index(name)
        count = np.bincount(table.question.codes[rows], minlength=size)
        with np.errstate(invalid="ignore"):
            total = np.bincount(table.question.codes[rows], weights=table.score[rows], minlength=size)
            return np.asarray(total / count, dtype=np.float64)

    found = []
    for judge in dict.fromkeys(each.get("judge") for each in models):
        mine = [each["model"] for each in models if each.get("judge") == judge]
        for name, other in pairwise(mine):
            ours, theirs = by_question(name), by_question(other)
            both = ~np.isnan(ours) & ~np.isnan(theirs)
            if both.any():
                found.append(compare_scores(name, ours[both], other, theirs[both], settings))
    return adjusted(found)
