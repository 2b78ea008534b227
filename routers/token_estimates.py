"""Expected tokens of prompts and answers by category and expert.

Estimated like utilities, by empirical-Bayes shrinkage, on their logarithm: the answers of one expert differ
from another's by a factor. Where a category has no counts at all, each expert's own mean stands for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.outcome_table import OutcomeTable
from routers.request import Matrix
from routers.request_costs import ExpectedTokens
from routers.utilities import estimate_utilities

MOST_TOKENS = 1e7
"""Scale of the logarithm: more tokens than any answer has."""


@dataclass(frozen=True, slots=True)
class TokenCells:
    """`known` of `cells` (prompts × experts) have the tokens of both prompt and answer; `experts` and
    `categories` have none."""

    known: int
    cells: int
    experts: tuple[str, ...]
    categories: tuple[str, ...]

    def sentence(self) -> str:
        """For people."""
        if not self.known:
            return "no tokens are known: cost and compute of a request are not"
        found = f"tokens known in {self.known:,} of {self.cells:,} cells"
        if self.experts:
            found += f"; in none of {_listed(self.experts)}, whose cost and compute are unknown"
        if self.categories:
            found += f"; in none of {_listed(self.categories)}, where the mean of each expert is taken"
        return found


def token_cells(table: OutcomeTable) -> TokenCells:
    """How many of the table's cells have token counts."""
    known = np.zeros(table.scores.shape, dtype=np.bool_)
    if table.tokens_in is not None and table.tokens_out is not None:
        known = ~np.isnan(table.tokens_in) & ~np.isnan(table.tokens_out)
    told = {name for name, row in zip(table.categories, known, strict=True) if row.any()}
    return TokenCells(
        int(known.sum()),
        known.size,
        tuple(name for name, column in zip(table.expert_names, known.T, strict=True) if not column.any()),
        tuple(sorted(set(table.categories) - told)),
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
