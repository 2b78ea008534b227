"""Rating a verdict table of either form."""

import math
from typing import Any

from eval.rating.graded import rate_graded
from eval.rating.pairwise import rate_pairwise
from eval.rating.settings import RatingSettings
from eval.rating.table import GradedTable, PairwiseTable


def rate(table: PairwiseTable | GradedTable, settings: RatingSettings) -> dict[str, Any]:
    """The ratings as JSON, null for undefined values. Raises RatingError."""
    found = rate_graded(table, settings) if isinstance(table, GradedTable) else rate_pairwise(table, settings)
    return {name: _known(value) for name, value in found.items()}


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
