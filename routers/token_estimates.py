"""Expected tokens of prompts and answers by category and expert.

Estimated like utilities, by empirical-Bayes shrinkage, on their logarithm: the answers of one expert differ
from another's by a factor.
"""

import numpy as np
import numpy.typing as npt

from routers.request import Matrix
from routers.request_costs import ExpectedTokens
from routers.utilities import estimate_utilities

MOST_TOKENS = 1e7
"""Scale of the logarithm: more tokens than any answer has."""


def estimate_tokens(
    tokens_in: Matrix | None, tokens_out: Matrix | None, labels: npt.NDArray[np.int64], categories: int
) -> ExpectedTokens | None:
    """From counts (prompts, experts; NaN where unknown) and `labels` (prompts,). None when there are none.

    Cells that few answers tell of are shrunk to their expert's and category's factors; an expert without any
    count stays unknown.
    """
    if tokens_in is None or tokens_out is None or not len(labels):
        return None
    shares = np.bincount(labels, minlength=categories).astype(np.float32)
    return ExpectedTokens(
        _expected(tokens_in, labels, categories),
        _expected(tokens_out, labels, categories),
        shares / shares.sum(),
    )


def _expected(counts: Matrix, labels: npt.NDArray[np.int64], categories: int) -> Matrix:
    known = ~np.isnan(counts).all(axis=0)
    found = np.full((categories, counts.shape[1]), np.nan, dtype=np.float32)
    if not known.any():
        return found
    seen = counts[:, known].astype(np.float64)
    scale = np.log1p(MOST_TOKENS)
    logs = (np.log1p(seen) / scale).astype(np.float32)
    fitted = estimate_utilities(logs, labels, categories)
    medians = np.expm1(fitted.by_category.astype(np.float64) * scale)
    # The mean of a skewed count is above what the mean logarithm says: a factor for each expert.
    there = ~np.isnan(seen)
    predicted = np.where(there, medians[labels], 0.0).sum(axis=0)
    found[:, known] = medians * (np.where(there, seen, 0.0).sum(axis=0) / np.maximum(predicted, 1e-9))
    return found
