"""Savings of `routers.planning`: planned scoring against the same number of scores spread evenly.

    python -m benchmarks.planning_savings TABLE... [--repeats 10] [--picture FILE]

One half of a table provides scores on request; the other half evaluates the resulting map. All methods
start from the same few prompts scored by all experts. Evenly: all experts on a prompt of the category with
the fewest scores. At random: all experts on a random prompt. Planned: the cells that `plan` selects, batch by
batch, on the first prompts of the category that the expert has not answered. `share`: the fraction of the
improvement from the initial map to the map of the fully scored half.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.json_documents import write_json
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.planning import Cells, cells_of, plan
from routers.request import Matrix

START = 3
"""Initial prompts per category, scored by all experts."""
SHARES = (0.5, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Race:
    """Mean quality of the map after `judgments` scores, by method; `needed`: scores by share."""

    table: str
    cells: int
    total: int
    """Scores in the whole half that provides them."""
    full: float
    judgments: list[int]
    even: list[float]
    random: list[float]
    planned: list[float]
    even_needed: list[int | None]
    random_needed: list[int | None]
    planned_needed: list[int | None]


def race(name: str, table: OutcomeTable, repeats: int, batches: int = 40, seed: int = 0) -> Race:
    """All methods on `repeats` random halves."""
    categories = tuple(sorted(set(table.categories)))
    labels = np.asarray([categories.index(each) for each in table.categories])
    shape = (len(categories), len(table.experts))
    batch = 2 * shape[0] * shape[1]
    curves: dict[str, list[list[float]]] = {"even": [], "random": [], "planned": []}
    full, total, points = [], 0, [0]
    for repeat in range(repeats):
        random = np.random.default_rng((seed, repeat))
        order = random.permutation(len(table))
        asked, held = order[: len(order) // 2], order[len(order) // 2 :]
        truth, rows = table.scores[asked], labels[asked]
        judged, judged_rows = table.scores[held], labels[held]
        total = int((~np.isnan(truth)).sum())

        def value(
            scores: Matrix,
            rows: npt.NDArray[np.int64] = rows,
            judged: Matrix = judged,
            judged_rows: npt.NDArray[np.int64] = judged_rows,
        ) -> float:
            best = _known(scores, rows).values.argmax(axis=1)
            return float(np.nanmean(judged[np.arange(len(judged)), best[judged_rows]]))

        full.append(value(truth))
        for way, ask in WAYS:
            known = np.zeros(truth.shape, dtype=bool)
            for category in range(shape[0]):
                known[np.flatnonzero(rows == category)[:START]] = True
            curve, points = [value(_masked(truth, known))], [int(known.sum())]
            for _ in range(batches):
                ask(truth, rows, known, batch)
                curve.append(value(_masked(truth, known)))
                points.append(points[-1] + batch)
            curves[way].append(curve)
    means = {way: np.mean(curve, axis=0) for way, curve in curves.items()}
    goal = float(np.mean(full))
    values = {way: [round(float(each), 4) for each in mean] for way, mean in means.items()}
    needed = {way: [_needed(points, mean, goal, share) for share in SHARES] for way, mean in means.items()}
    return Race(
        table=name,
        cells=shape[0] * shape[1],
        total=total,
        full=round(goal, 4),
        judgments=points,
        even=values["even"],
        random=values["random"],
        planned=values["planned"],
        even_needed=needed["even"],
        random_needed=needed["random"],
        planned_needed=needed["planned"],
    )


def _known(scores: Matrix, rows: npt.NDArray[np.int64]) -> Cells:
    names = [str(category) for category in range(int(rows.max()) + 1)]
    return cells_of(scores, rows, names, [ExpertCard(str(c), 1.0, 1.0) for c in range(scores.shape[1])])


def _masked(truth: Matrix, known: npt.NDArray[np.bool_]) -> Matrix:
    return np.where(known, truth, np.nan).astype(np.float32)


def _ask_evenly(truth: Matrix, rows: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], batch: int) -> None:
    experts = truth.shape[1]
    for _ in range(batch // experts):
        # The category with the fewest answered prompts, of those with prompts left.
        done = np.bincount(rows[known.all(axis=1)], minlength=rows.max() + 1).astype(float)
        left = np.bincount(rows[~known.all(axis=1)], minlength=rows.max() + 1)
        done[left == 0] = np.inf
        category = int(done.argmin())
        if left[category]:
            known[np.flatnonzero((rows == category) & ~known.all(axis=1))[0]] = True


def _ask_at_random(
    truth: Matrix, rows: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], batch: int
) -> None:
    # The rows are in random order already.
    known[np.flatnonzero(~known.all(axis=1))[: batch // truth.shape[1]]] = True


def _ask_planned(
    truth: Matrix, rows: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], batch: int
) -> None:
    for cell in plan(_known(_masked(truth, known), rows), batch).cells:
        open_rows = np.flatnonzero((rows == int(cell.category)) & ~known[:, int(cell.expert)])
        known[open_rows[: cell.prompts], int(cell.expert)] = True


WAYS = (("even", _ask_evenly), ("random", _ask_at_random), ("planned", _ask_planned))


def _needed(points: Sequence[int], curve: Sequence[float], goal: float, share: float) -> int | None:
    """Scores after which the curve stays above `share` of the way from its start to `goal`."""
    line = curve[0] + share * (goal - curve[0])
    below = [at for at, value in zip(points, curve, strict=True) if value < line]
    later = [at for at in points if not below or at > below[-1]]
    return later[0] if later else None


def draw(races: Sequence[Race], path: Path) -> None:
    """Plot the curves side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(races), 3.4), layout="constrained")
    for axes, each in zip(np.atleast_1d(figure.subplots(1, len(races))), races, strict=True):
        axes.plot(each.judgments, each.even, color="#888888", label="same number in each category")
        axes.plot(each.judgments, each.random, color="#c98a2b", label="prompts as they come")
        axes.plot(each.judgments, each.planned, color="#1f6fb4", label="planned")
        axes.axhline(each.full, color="#333333", linewidth=0.8, linestyle="--", label="everything scored")
        axes.set_title(each.table)
        axes.set_xlabel(f"scores asked for, of {each.total:,}")
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("score of the map on other prompts")
    figure.axes[0].legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+", help="outcome tables")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw the curves to this file")
    options = parser.parse_args()
    races = [
        race(folder.name, read_outcomes(folder), options.repeats, options.batches)
        for folder in options.tables
    ]
    heads = " | ".join(f"{share:.0%} even | random | planned" for share in SHARES)
    sys.stdout.write(f"| table | first | full | {heads} |\n|---|---|---|{'---|' * 3 * len(SHARES)}\n")
    for each in races:
        ways = zip(each.even_needed, each.random_needed, each.planned_needed, strict=True)
        needed = " | ".join(str(count or "later") for counts in ways for count in counts)
        sys.stdout.write(f"| {each.table} | {each.even[0]:.3f} | {each.full:.3f} | {needed} |\n")
    if options.json:
        write_json([asdict(each) for each in races], options.json)
    if options.picture:
        draw(races, options.picture)


if __name__ == "__main__":
    main()
