"""Cross-validation of routing on outcome tables, for docs/explanation/routing.md.

    python -m benchmarks.routing_quality DATA [--folds 5] [--runs 5] [--out var/routing] [--learning]

`benchmarks.routing_page` runs this and the page's other measurements. DATA is a folder of outcome tables
(coe5, llmrouter9, mmlu_pro_small, arena_hard_gpt4o). Each table is split into folds, grouped by identical
prompts; `coterie fit` fits on all folds but one and `coterie replay` evaluates on that one. Results are
pooled over folds per prompt. Finished folds are kept, so an interrupted run resumes. `--learning` also fits
on subsets of the fitting prompts and plots the learning curve.
"""

import argparse
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.remaining_signal import Signal, remaining_signal
from eval.outcome_export import write_table
from eval.paired_comparison import paired_interval
from routers.embeddings import encode_cached, vectors_folder
from routers.encoder import load_encoder
from routers.outcome_table import read_outcomes

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RoutingSetting:
    """A table, how it is fitted, and the average active parameters it is also fitted for, billions."""

    table: str
    options: tuple[str, ...] = ()
    targets_b: tuple[float, ...] = ()


SETTINGS = (
    RoutingSetting("coe5", targets_b=(20, 31, 40, 54)),
    RoutingSetting("llmrouter9"),
    RoutingSetting("mmlu_pro_small"),
    RoutingSetting("arena_hard_gpt4o", options=("--categories", "auto"), targets_b=(31, 54)),
)
MAP_ALONE, WHOLLY = "category map alone", "wholly corrected"
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    MAP_ALONE: ("--no-correction",),
    WHOLLY: ("--correction",),
    "categories split": ("--categories", "split"),
}
"""Ablations: no correction, the whole correction, or categories split where the ranking of experts differs
within them."""
LEARNING = (0.25, 0.5)
"""Fractions of the fitting prompts for learning curves, besides 1."""
CLOSEST = (1.0, 0.1, 0.02)
"""Fractions of most similar prompt pairs whose shared signal is reported."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--runs", type=int, help="folds to judge on, the first ones (default: all)")
    parser.add_argument("--out", type=Path, default=Path("var/routing"))
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--learning", action="store_true", help="learning curves too")
    options = parser.parse_args(arguments)
    settings = [each for each in SETTINGS if not options.tables or each.table in options.tables]
    run_folds(
        settings, options.data, options.out, options.runs or options.folds, options.folds, options.learning
    )
    sections = {each.table: table_section(each, options.data, options.out) for each in settings}
    sections["What is left to find"] = signal_table(settings, options.data)
    if options.learning:
        sections["By the number of prompts fitted on"] = learning_table(settings, options.data, options.out)
    lines = [line for name, section in sections.items() for line in (f"## {name}", "", *section, "")]
    (options.out / "summary.md").write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write("\n".join(lines))


def run_folds(
    settings: Sequence[RoutingSetting], data: Path, out: Path, runs: int, folds: int, learning: bool
) -> None:
    """Fit and evaluate the unfinished ones of the first `runs` folds."""
    for fold in range(runs):
        for setting in settings:
            run_fold(setting, data, out, fold, folds)
            if learning:
                run_learning(setting, out, fold)


def run_fold(setting: RoutingSetting, data: Path, out: Path, fold: int, folds: int) -> None:
    """Fit and evaluate the unfinished variants of one fold of one table."""
    folder = out / setting.table / f"fold{fold}"
    table = data / setting.table
    if not (folder / "test" / "experts.yaml").exists():
        write_split(table, folder, fold, folds)
    variants = {"quality": (), **ablations(setting)}
    for target in setting.targets_b:
        asked = ("--target-active-b", f"{target:g}")
        variants[f"{target:g} B"] = asked
        variants |= {f"{target:g} B {name}": (*asked, *ABLATIONS[name]) for name in (MAP_ALONE, WHOLLY)}
    for name, further in variants.items():
        fit_and_judge(setting, folder, "fit", name, further)


def ablations(setting: RoutingSetting) -> Mapping[str, tuple[str, ...]]:
    """The ablations that apply to a table; splits need the table's own categories."""
    own = "--categories" not in setting.options
    return {name: given for name, given in ABLATIONS.items() if own or "--categories" not in given}


def run_learning(setting: RoutingSetting, out: Path, fold: int) -> None:
    """Fit on nested subsets of a fold's fitting prompts and evaluate on its test prompts."""
    folder = out / setting.table / f"fold{fold}"
    for share in LEARNING:
        part = f"fit-{share:g}"
        if not (folder / part / "experts.yaml").exists():
            table = read_outcomes(folder / "fit")
            drawn = [
                zlib.crc32(f"part {prompt.strip()}".encode()) / 2**32 < share for prompt in table.prompts
            ]
            write_table(table.take(np.flatnonzero(drawn)), folder / part)
        for name, further in {"quality": (), MAP_ALONE: ABLATIONS[MAP_ALONE]}.items():
            fit_and_judge(setting, folder, part, f"{name} on {share:g}", further)


def fit_and_judge(
    setting: RoutingSetting, folder: Path, part: str, name: str, further: Sequence[str]
) -> None:
    """Fit on a part of a fold and evaluate on its test prompts, unless finished."""
    place = folder / name.replace(" ", "-")
    if (place / "items.parquet").exists():
        return
    sys.stdout.write(f"{setting.table} {folder.name}: {name}\n")
    place.mkdir(parents=True, exist_ok=True)
    coterie("fit", folder / part, "--out", place / "composition", *setting.options, *further)
    coterie(
        "replay",
        place / "composition",
        folder / "test",
        *("--json", place / "replay.json", "--picture", place / "curve.png"),
        *("--items", place / "items.parquet"),
    )


def write_split(source: Path, folder: Path, fold: int, folds: int) -> None:
    """Write the fitting and the test part of a table; identical prompts fall in the same part."""
    table = read_outcomes(source)
    mine = np.asarray([zlib.crc32(prompt.strip().encode()) % folds == fold for prompt in table.prompts])
    for part, rows in (("fit", ~mine), ("test", mine)):
        write_table(table.take(np.flatnonzero(rows)), folder / part)


def table_section(setting: RoutingSetting, data: Path, out: Path) -> list[str]:
    """Markdown: each variant against the baselines, pooled over finished folds."""
    quality = pooled(setting, data, out, "quality")
    lines = ["| | score | composition minus this, 95 % interval |", "|---|---|---|"]
    score = quality["score"]
    error = score.std(ddof=1) / np.sqrt(len(score))
    lines.append(f"| **composition** ({len(score)} prompts) | {score.mean():.4f} ± {error:.4f} | |")
    rivals = {name: quality[name] for name in _BASELINES}
    for name in ablations(setting):
        rivals[name] = pooled(setting, data, out, name)["score"]
    for name, theirs in rivals.items():
        gap = paired_interval(score, theirs)
        lines.append(
            f"| {name.replace('_', ' ')} | {theirs.mean():.4f} | "
            f"{gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) |"
        )
    if setting.targets_b:
        lines += ["", *budget_table(setting, data, out)]
    return lines


_BASELINES = ("random", "best_single", "knn", "kmeans", "category_oracle", "oracle")


def budget_table(setting: RoutingSetting, data: Path, out: Path) -> list[str]:
    """Score at each target of active parameters against linear interpolation between single experts."""
    table = read_outcomes(data / setting.table)
    sizes = np.asarray([card.active_params_b for card in table.experts], dtype=np.float64)
    lines = [
        "| target | correction | active | score | line between single experts | difference, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for target in setting.targets_b:
        for ending, name in (("", "by validation"), (f" {MAP_ALONE}", "none"), (f" {WHOLLY}", "whole")):
            found = pooled(setting, data, out, f"{target:g} B{ending}")
            active = float(found["active_params_b"].mean())
            line = straight_line(table.scores[found["row"].astype(int)].astype(np.float64), sizes, active)
            gap = paired_interval(found["score"], line)
            lines.append(
                f"| {target:g} B | {name} | {active:.1f} B "
                f"| {found['score'].mean():.4f} | {line.mean():.4f} "
                f"| {gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) |"
            )
    return lines


def signal_table(settings: Sequence[RoutingSetting], data: Path) -> list[str]:
    """Signal shared by similar prompts beyond the category, and its potential gain."""
    encoder = load_encoder(threads=2)
    lines = ["| table | pairs | mean cosine | shared variance, 95 % interval | worth, 95 % interval |"]
    lines += ["|---|---|---|---|---|"]
    for setting in settings:
        table = read_outcomes(data / setting.table)
        if "auto" in setting.options:
            table = replace(table, categories=("all",) * len(table))
        embeddings = encode_cached(encoder, table.prompts, vectors_folder())
        for closest in CLOSEST:
            found = remaining_signal(table, embeddings, closest=closest)
            lines.append(f"| {setting.table} | {_signal_cells(found)} |")
    return lines


def _signal_cells(found: Signal) -> str:
    return (
        f"{found.pairs} | {found.similarity:.2f} | "
        f"{found.shared:.1%} ({found.shared_low:.1%} to {found.shared_high:.1%}) | "
        f"{found.gain:+.4f} ({found.gain_low:+.4f} to {found.gain_high:+.4f})"
    )


def learning_table(settings: Sequence[RoutingSetting], data: Path, out: Path) -> list[str]:
    """Scores by the number of fitting prompts, as a table, and as a plot in `out`."""
    curves = {each.table: _learning_curve(each, data, out) for each in settings}
    draw_learning(curves, out / "learning.png")
    lines = [
        "| table | prompts | composition | category map alone | knn | best single |",
        "|---|---|---|---|---|---|",
    ]
    for name, curve in curves.items():
        for row, prompts in enumerate(curve["prompts"]):
            cells = " | ".join(f"{curve[line][row]:.4f}" for line in LINES)
            lines.append(f"| {name} | {prompts:.0f} | {cells} |")
    return lines


LINES = ("composition", MAP_ALONE, "knn", "best single")


def _learning_curve(setting: RoutingSetting, data: Path, out: Path) -> dict[str, list[float]]:
    curve: dict[str, list[float]] = {name: [] for name in ("prompts", *LINES)}
    for share in (*LEARNING, 1.0):
        ending = "" if share == 1 else f" on {share:g}"
        part = "fit" if share == 1 else f"fit-{share:g}"
        fitted = sorted((out / setting.table).glob(f"fold*/{part}"))
        ours = pooled(setting, data, out, f"quality{ending}")
        alone = pooled(setting, data, out, f"{MAP_ALONE}{ending}")
        curve["prompts"].append(float(round(np.mean([len(read_outcomes(each)) for each in fitted]))))
        curve["composition"].append(float(ours["score"].mean()))
        curve[MAP_ALONE].append(float(alone["score"].mean()))
        curve["knn"].append(float(ours["knn"].mean()))
        curve["best single"].append(float(ours["best_single"].mean()))
    return curve


def draw_learning(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Plot score against the number of fitting prompts (log scale), one panel per table."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(4.2 * len(curves), 3.9), layout="constrained")
    for axes, (name, curve) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        for line, colour in zip(LINES, ("#1f5fa8", "#7a9cc6", "#c2571a", "#9a948a"), strict=True):
            axes.plot(curve["prompts"], curve[line], marker="o", markersize=3.5, color=colour, label=line)
        axes.set_xscale("log")
        axes.set_xticks(curve["prompts"])
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("prompts fitted on")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("score on prompts put aside")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def straight_line(scores: Column, costs: Column, at: float) -> Column:
    """Per prompt, the score of randomly mixing two experts so that they cost `at` on average.

    The two are the ends of the segment of the experts' upper convex hull that spans `at`. `scores` (prompts,
    experts); `costs` (experts,).
    """
    means = scores.mean(axis=0)
    best: tuple[float, Column] | None = None
    for low in np.flatnonzero(costs <= at):
        for high in np.flatnonzero(costs > at):
            share = (at - costs[low]) / (costs[high] - costs[low])
            mean = (1 - share) * means[low] + share * means[high]
            if best is None or mean > best[0]:
                best = mean, (1 - share) * scores[:, low] + share * scores[:, high]
    if best is None:
        return scores[:, int(means.argmax())]
    return best[1]


def pooled(setting: RoutingSetting, data: Path, out: Path, variant: str) -> dict[str, Column]:
    """Columns over the prompts of all finished folds; `row` is the prompt's row in the whole table."""
    import pyarrow.parquet

    columns: dict[str, list[Column]] = {}
    for path in sorted((out / setting.table).glob(f"fold*/{variant.replace(' ', '-')}/items.parquet")):
        items = pyarrow.parquet.read_table(path)
        for name in (*_BASELINES, "score", "active_params_b"):
            columns.setdefault(name, []).append(np.asarray(items[name].to_pylist(), dtype=np.float64))
        columns.setdefault("uid", []).append(np.asarray(items["uid"].to_pylist()))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    row_of = {uid: row for row, uid in enumerate(read_outcomes(data / setting.table).uids)}
    joined["row"] = np.asarray([row_of[uid] for uid in joined.pop("uid")], dtype=np.float64)
    return joined


def coterie(*words: str | Path) -> None:
    """Run a command of the product. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "app.cli", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
