"""Routing under a budget of compute instead of active parameters, for docs/explanation/routing.md.

    python -m benchmarks.compute_budgets TABLE LENGTHS [--folds 5] [--runs 2] [--out var/routing]

`benchmarks.routing_page` runs this too. TABLE is an outcome table, LENGTHS a parquet of `uid` and one column
per expert: characters of its answers (`coe5` and ZeroEval's `output_chars.parquet`). Prompts without the
length of every expert's answer are left out. A token is taken to be CHARACTERS_PER_TOKEN characters of prompt
or answer, for every expert: another number multiplies every B·tokens alike and changes no comparison.
`coterie fit --target-compute`, and `--target-active-b` beside it, fit on all folds but one; `coterie replay`
and `coterie curve` evaluate on that one. Finished fits are kept, so an interrupted run resumes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.routing_quality import (
    Column,
    RoutingSetting,
    coterie,
    fit_and_judge,
    straight_line,
    write_split,
)
from eval.outcome_export import write_table
from eval.paired_comparison import paired_interval
from routers.outcome_table import OutcomeError, OutcomeTable, read_outcomes, table_costs
from routers.request import Matrix

CHARACTERS_PER_TOKEN = 4.0
TARGETS_COMPUTE = (4_000, 8_000, 16_000)
"""B·tokens a request."""
TARGETS_ACTIVE = (20, 31, 40)
"""Billions of active parameters."""
SETTING = RoutingSetting("counted")
BASELINES = ("best_single", "knn", "kmeans", "category_oracle")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("lengths", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=2, help="folds to judge on, the first ones")
    parser.add_argument("--out", type=Path, default=Path("var/routing"))
    given = parser.parse_args(arguments)
    lines = measured(given.table, given.lengths, given.out, given.runs, given.folds)
    sys.stdout.write("\n".join([*lines, ""]))


def measured(source: Path, lengths: Path, out: Path, runs: int, folds: int) -> list[str]:
    """Fit and evaluate what is unfinished of the first `runs` folds, and return both tables as Markdown."""
    place = out / SETTING.table
    whole = place / "table"
    if not (whole / "experts.yaml").exists():
        write_table(with_tokens(read_outcomes(source), read_lengths(lengths)), whole)
    for fold in range(runs):
        folder = place / f"fold{fold}"
        if not (folder / "test" / "experts.yaml").exists():
            write_split(whole, folder, fold, folds)
        for name, options in variants().items():
            fit_and_judge(SETTING, folder, "fit", name, options)
    judged = [place / f"fold{fold}" for fold in range(runs)]
    return [*budget_lines(judged), "", *curve_lines(judged)]


def read_lengths(path: Path) -> dict[str, dict[str, float | None]]:
    """Characters of each answer by expert, then by uid."""
    import pyarrow.parquet

    columns = pyarrow.parquet.read_table(path).to_pydict()
    uids = columns.pop("uid")
    return {name: dict(zip(uids, column, strict=True)) for name, column in columns.items()}


def with_tokens(table: OutcomeTable, lengths: dict[str, dict[str, float | None]]) -> OutcomeTable:
    """The prompts of `table` with the length of every expert's answer, with tokens by their characters.

    Raises OutcomeError for an expert without lengths, and when no prompt is left.
    """
    if unknown := [name for name in table.expert_names if name not in lengths]:
        raise OutcomeError(f"no lengths of the answers of {', '.join(unknown)}")
    written = np.asarray(
        [[lengths[name].get(uid) for name in table.expert_names] for uid in table.uids], dtype=np.float32
    )
    known = np.flatnonzero(~np.isnan(written).any(axis=1))
    if not len(known):
        raise OutcomeError("no prompt of the table has the length of every expert's answer")
    read = np.asarray([len(prompt) for prompt in table.prompts], dtype=np.float32)[:, None]
    counted = replace(
        table,
        tokens_in=np.broadcast_to(read / CHARACTERS_PER_TOKEN, written.shape),
        tokens_out=written / np.float32(CHARACTERS_PER_TOKEN),
    )
    return counted.take(known)


def variants() -> dict[str, tuple[str, ...]]:
    """Name of each fit to its options."""
    return {
        "no target": (),
        **{f"{each:,} B·tokens": ("--target-compute", str(each)) for each in TARGETS_COMPUTE},
        **{f"{each} B active": ("--target-active-b", str(each)) for each in TARGETS_ACTIVE},
    }


@dataclass(frozen=True, slots=True)
class Pooled:
    """The evaluated prompts of all folds: `scores` and `compute` (prompts, experts), their `rows` by uid."""

    rows: dict[str, int]
    scores: Column
    compute: Matrix
    sizes: Column
    experts: tuple[str, ...]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "Pooled":
        tables = [read_outcomes(folder / "test") for folder in folders]
        uids = [uid for table in tables for uid in table.uids]
        return cls(
            {uid: row for row, uid in enumerate(uids)},
            np.concatenate([table.scores for table in tables]).astype(np.float64),
            np.concatenate([table_costs("compute", table) for table in tables]),
            np.asarray([card.active_params_b for card in tables[0].experts], dtype=np.float64),
            tables[0].expert_names,
        )


def budget_lines(folders: Sequence[Path]) -> list[str]:
    """Compute and score of each fit and baseline, and mixtures of single experts that take as much."""
    whole = Pooled.of(folders)
    lines = [
        f"| {len(whole.rows)} prompts | compute, B·tokens | active | score "
        "| mixing single experts at this compute | difference, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for name in variants():
        rows, chosen, scores = _items(folders, name, whole)
        compute = float(whole.compute[rows, chosen].mean())
        line = straight_line(whole.scores[rows], whole.compute[rows].mean(axis=0), compute)
        gap = paired_interval(scores, line)
        lines.append(
            f"| fitted for {name} | {compute:,.0f} | {whole.sizes[chosen].mean():.1f} B "
            f"| {scores.mean():.4f} | {line.mean():.4f} "
            f"| {gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) |"
        )
    for name, compute, score in _baselines(folders, whole):
        lines.append(f"| {name} | {compute:,.0f} | | {score:.4f} | | |")
    return lines


def _items(folders: Sequence[Path], variant: str, whole: Pooled) -> tuple[Any, Any, Column]:
    """Rows, chosen columns and scores of a fit's decisions."""
    import pyarrow.parquet

    tables = [
        pyarrow.parquet.read_table(folder / variant.replace(" ", "-") / "items.parquet").to_pydict()
        for folder in folders
    ]
    rows = [whole.rows[uid] for each in tables for uid in each["uid"]]
    chosen = [whole.experts.index(name) for each in tables for name in each["expert"]]
    scores = [score for each in tables for score in each["score"]]
    return np.asarray(rows), np.asarray(chosen), np.asarray(scores, dtype=np.float64)


def _baselines(folders: Sequence[Path], whole: Pooled) -> list[tuple[str, float, float]]:
    """Name, B·tokens a request and score of each single expert, and of the baselines."""
    found = [
        (f"{name} alone", float(whole.compute[:, column].mean()), float(whole.scores[:, column].mean()))
        for column, name in enumerate(whole.experts)
    ]
    found.append(("random", float(whole.compute.mean()), float(whole.scores.mean())))
    replays = [json.loads((folder / "no-target" / "replay.json").read_text()) for folder in folders]
    for name in BASELINES:
        total = sum(each["differences"][name]["n"] for each in replays)
        compute = score = 0.0
        for each in replays:
            rival = each["differences"][name]
            share = rival["n"] / total
            compute += share * each["compute"] / rival["compute_ratio"]
            score += share * each["baselines"][name]
        found.append((name.replace("_", " "), compute, score))
    best = whole.scores.max(axis=1)
    cheapest = np.where(whole.scores == best[:, None], whole.compute, np.inf).min(axis=1)
    found.append(("oracle, the cheapest of the best", float(cheapest.mean()), float(best.mean())))
    return found


def curve_lines(folders: Sequence[Path]) -> list[str]:
    """`coterie curve` of the fit without a target, by active parameters and by compute, mean of the folds."""
    lines = ["| `coterie curve` | at | composition | mixing single experts |", "|---|---|---|---|"]
    asked = [("active", "B", each) for each in TARGETS_ACTIVE]
    asked += [("compute", "B·tokens", each) for each in TARGETS_COMPUTE]
    for by, unit, at in asked:
        ours, mixed = np.mean([_curve_at(folder, by, at) for folder in folders], axis=0)
        lines.append(f"| `--by {by}` | {at:,} {unit} | {ours:.4f} | {mixed:.4f} |")
    return lines


def _curve_at(folder: Path, by: str, at: float) -> tuple[float, float]:
    """Score at cost `at` of the composition's hull and of that of the single experts, on the fold's test."""
    path = folder / f"curve-{by}.json"
    if not path.exists():
        coterie("curve", folder / "no-target" / "composition", folder / "test", "--by", by, "--json", path)
    found = json.loads(path.read_text(encoding="utf-8"))
    hulls = (found["hull"], found["experts_hull"])
    ours, mixed = (
        float(np.interp(at, [p[found["by"]] for p in hull], [p["score"] for p in hull])) for hull in hulls
    )
    return ours, mixed


if __name__ == "__main__":
    main()
