"""Cost of adding an expert: leave one expert out, add it back from k scored prompts.

    python -m benchmarks.add_expert_cost TABLE... [--repeats 20] [--json figures.json]

Utilities are fitted on half of a table without the expert; its row is estimated from k random prompts of
that half; the map of categories to experts is evaluated on the other half. `regret`: the score lost
against the map fitted with all of the expert's scores; `without`: the loss without the expert; `means`: the
regret of category means of the same k scores; `error`: the RMSE of the estimated row. Categories are
the table's own, not predicted.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.json_documents import write_json
from routers.new_expert import ScoredPrompts, estimate_row
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Matrix, Vector
from routers.utilities import estimate_utilities

PROMPTS = (0, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Joining:
    """Means over experts and repeats, in units of the score."""

    table: str
    prompts: int
    regret: float
    paired: float
    """The regret if the other experts' scores on the same prompts are known too."""
    means: float
    without: float
    error: float


def measure(name: str, table: OutcomeTable, repeats: int, seed: int = 0) -> list[Joining]:
    """One row for each number of prompts."""
    categories = tuple(sorted(set(table.categories)))
    labels = np.asarray([categories.index(each) for each in table.categories])
    found: dict[int, list[tuple[float, ...]]] = {k: [] for k in PROMPTS}
    for repeat in range(repeats):
        random = np.random.default_rng((seed, repeat))
        order = random.permutation(len(table))
        fit, held = order[: len(order) // 2], order[len(order) // 2 :]
        for column in range(len(table.experts)):
            for k, figures in _one(table, labels, categories, fit, held, column, random).items():
                found[k].append(figures)
    return [
        Joining(name, k, *(round(float(each), 4) for each in np.mean(rows, axis=0)))
        for k, rows in found.items()
    ]


def _one(
    table: OutcomeTable,
    labels: npt.NDArray[np.int64],
    categories: tuple[str, ...],
    fit: npt.NDArray[np.int64],
    held: npt.NDArray[np.int64],
    column: int,
    random: np.random.Generator,
) -> dict[int, tuple[float, ...]]:
    """Regret alone and paired, of plain means, without the expert, and the row's error, by prompts."""
    others = [each for each in range(len(table.experts)) if each != column]
    known = estimate_utilities(table.scores[fit][:, others], labels[fit], len(categories))
    whole = estimate_utilities(table.scores[fit][:, [*others, column]], labels[fit], len(categories))
    experts = [table.experts[each] for each in others]
    card = table.experts[column]
    judged = table.scores[held][:, [*others, column]]

    def value(utilities: Matrix) -> float:
        best = utilities.argmax(axis=1)[labels[held]]
        return float(judged[np.arange(len(held)), best].mean())

    goal = value(whole.by_category)
    without = goal - value(known.by_category)
    asked = random.permutation(fit)
    found: dict[int, tuple[float, ...]] = {}
    for k in PROMPTS:
        rows = asked[:k]
        one_hot = np.eye(len(categories), dtype=np.float32)[labels[rows]]
        scores: Vector = table.scores[rows, column]
        blind = np.full((len(rows), len(others)), np.nan, dtype=np.float32)
        alone = estimate_row(experts, known.by_category, card, ScoredPrompts(one_hot, scores, blind))
        beside = ScoredPrompts(one_hot, scores, table.scores[rows][:, others])
        paired = estimate_row(experts, known.by_category, card, beside)
        counts = one_hot.sum(axis=0)
        # In categories without scores, fall back to the expert's overall mean, if any.
        overall = float(scores.mean()) if k else -1.0
        means = np.where(counts > 0, one_hot.T @ scores / np.maximum(counts, 1), overall)

        def regret(row: Vector) -> float:
            return goal - value(np.concatenate([known.by_category, row[:, None]], axis=1))

        error = float(np.sqrt(((paired.utilities - whole.by_category[:, -1]) ** 2).mean()))
        found[k] = (regret(alone.utilities), regret(paired.utilities), regret(means), without, error)
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+", help="outcome tables")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows = [
        row
        for folder in options.tables
        for row in measure(folder.name, read_outcomes(folder), options.repeats)
    ]
    sys.stdout.write("| table | prompts | regret | paired | plain means | without it | error of the row |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(
            f"| {row.table} | {row.prompts} | {row.regret:.4f} | {row.paired:.4f} | {row.means:.4f} | "
            f"{row.without:.4f} | {row.error:.3f} |\n"
        )
    if options.json:
        write_json([asdict(row) for row in rows], options.json)


if __name__ == "__main__":
    main()
