"""Small verdict tables for the tests of ratings."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.rating.columns import Columns
from eval.rating.table import GradedTable, PairwiseTable, check_verdicts


def columns(cells: Mapping[str, Sequence[Any]]) -> Columns:
    length = len(next(iter(cells.values())))
    return Columns("verdicts", cells, range(1, length + 1))


def pairwise(rows: Sequence[tuple[Any, ...]], **further: Sequence[Any]) -> PairwiseTable:
    """Rows of question_id, model, baseline, win, tie, loss."""
    names = ("question_id", "model", "baseline", "win", "tie", "loss")
    found = check_verdicts(columns({**dict(zip(names, zip(*rows, strict=True), strict=True)), **further}))
    assert isinstance(found, PairwiseTable)
    return found


def graded(rows: Sequence[tuple[Any, ...]], **further: Sequence[Any]) -> GradedTable:
    """Rows of question_id, model, turn, score."""
    names = ("question_id", "model", "turn", "score")
    found = check_verdicts(columns({**dict(zip(names, zip(*rows, strict=True), strict=True)), **further}))
    assert isinstance(found, GradedTable)
    return found
