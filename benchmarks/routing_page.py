"""Regenerates every measured table and plot of docs/explanation/routing.md.

    python -m benchmarks.routing_page OUTCOMES --mt-bench question.jsonl --flask flask_evaluation.parquet \\
        --lengths output_chars.parquet

OUTCOMES is a folder of tables as for `benchmarks.routing_quality`, `--lengths` as for
`benchmarks.compute_budgets`. Each part of the page between
`<!-- measured: NAME -->` and `<!-- end -->` is replaced by its new measurement, and the plots are redrawn;
the text around them is written by hand and needs review afterwards. Finished folds are kept in `--out`, so an
interrupted run resumes. Times are of this machine; `--only NAME …` measures only these parts.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.files import write_text
from base.jsonl import JsonlError
from benchmarks.measured_pages import PageError, filled
from benchmarks.routing_quality import (
    SETTINGS,
    learning_table,
    run_folds,
    signal_table,
    table_section,
)
from routers.outcome_table import OutcomeError

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "explanation" / "routing.md"
COMPOSITION = PROJECT / "routers" / "compositions" / "cpu"
TABLE = PROJECT / "eval" / "outcomes" / "cpu"
BENCHMARKS = ("decision_latency", "service_overhead")
"""Modules of `benchmarks` that measure times and memory."""

Lines = Sequence[str]


@dataclass(frozen=True, slots=True)
class Sources:
    """Inputs: `outcomes`, a folder of outcome tables; `work`, the cache between runs; the first `runs` of
    `folds` folds are evaluated."""

    outcomes: Path
    mt_bench: Path
    flask: Path
    lengths: Path
    work: Path
    images: Path
    runs: int
    folds: int


def categories(sources: Sources) -> Lines:
    """Stage 1 on our test prompts and on public sets."""
    from benchmarks.category_accuracy import accuracies

    rows = [
        "| set | prompts | accuracy | sure of | right when sure | calibration error |",
        "|---|---|---|---|---|---|",
    ]
    for each in accuracies(COMPOSITION, sources.images / "confusion.png", sources.mt_bench, sources.flask):
        ece = "–" if each.ece is None else f"{each.ece:.3f}"
        rows.append(
            f"| {each.name} | {each.prompts:,} | {each.accuracy:.3f} | {each.sure:.0%} "
            f"| {each.accuracy_when_sure:.3f} | {ece} |"
        )
    return rows


def encoder(sources: Sources) -> Lines:
    """The effects of int8 weights and of each feature subset."""
    from benchmarks.category_accuracy import accuracy_by_features, accuracy_by_precision

    found = accuracy_by_precision()
    names = list(next(iter(found.values())))
    rows = ["| fitted on the seed prompts | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for precision, by_classifier in found.items():
        rows.append(f"| {precision} | " + " | ".join(f"{by_classifier[name]:.3f}" for name in names) + " |")
    for parts, accuracy in accuracy_by_features().items():
        cells = (f"{accuracy:.3f}" if name == "logistic" else "" for name in names)
        rows.append(f"| int8, {parts} | " + " | ".join(cells) + " |")
    return rows


def shipped(sources: Sources) -> Lines:
    """The scores that the shipped CPU composition was fitted on, as summarised by `coterie score`."""
    text = (TABLE / "summary.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("|")]


def held_out(sources: Sources) -> Lines:
    """Cross-validated scores of the shipped CPU composition from its fit."""
    found = json.loads((COMPOSITION / "composition.json").read_text(encoding="utf-8"))["held_out"]
    best = found["best_single"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found["shares"].items() if share)
    # An oracle needs prompts that every expert answered.
    oracle = "–" if found["oracle"] is None else f"{found['oracle']:.3f}"
    return [
        "| on held-out folds | score | active | answered by |",
        "|---|---|---|---|",
        f"| the composition | {found['score']:.3f} | {found['active_params_b']:.2f} B | {shares} |",
        f"| {best['expert']} alone | {best['score']:.3f} | | |",
        f"| the best expert of each prompt | {oracle} | | |",
    ]


def table(name: str) -> Callable[[Sources], Lines]:
    """The part on one outcome table."""

    def measured(sources: Sources) -> Lines:
        setting = next(each for each in SETTINGS if each.table == name)
        run_folds([setting], sources.outcomes, sources.work, sources.runs, sources.folds, learning=True)
        if setting is SETTINGS[0]:
            curve = sources.work / name / "fold0" / "quality" / "curve.png"
            shutil.copyfile(curve, sources.images / f"{name}-replay.png")
        return table_section(setting, sources.outcomes, sources.work)

    return measured


def compute(sources: Sources) -> Lines:
    """coe5 under budgets of compute."""
    from benchmarks.compute_budgets import measured

    return measured(sources.outcomes / "coe5", sources.lengths, sources.work, sources.runs, sources.folds)


def signal(sources: Sources) -> Lines:
    """Signal shared by nearest neighbours beyond the category."""
    return signal_table(SETTINGS, sources.outcomes)


def learning(sources: Sources) -> Lines:
    """The learning curve."""
    run_folds(SETTINGS, sources.outcomes, sources.work, sources.runs, sources.folds, learning=True)
    lines = learning_table(SETTINGS, sources.outcomes, sources.work)
    shutil.copyfile(sources.work / "learning.png", sources.images / "learning.png")
    return lines


def speed(sources: Sources) -> Lines:
    """Times and memory of routing and of the service, with their limits."""
    rows = ["| measure | figure | bound |", "|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="coterie-page-") as scratch:
        for name in BENCHMARKS:
            kept = Path(scratch) / f"{name}.json"
            # Exit code 1 means that a limit is exceeded, which the table shows.
            done = subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}", "--json", str(kept)],
                cwd=PROJECT,
                check=False,
            )
            if not kept.exists():
                raise PageError(f"benchmarks.{name} measured nothing and returned {done.returncode}")
            for each in json.loads(kept.read_text(encoding="utf-8")):
                bound = "" if each["bound"] is None else f"{each['bound']:g} {each['unit']}"
                missed = "" if each["holds"] else ", not held"
                rows.append(f"| {each['name']} | {each['value']:.3g} {each['unit']} | {bound}{missed} |")
    return rows


PARTS: Mapping[str, Callable[[Sources], Lines]] = {
    "categories": categories,
    "encoder": encoder,
    "shipped": shipped,
    "held-out": held_out,
    **{each.table: table(each.table) for each in SETTINGS},
    "compute": compute,
    "signal": signal,
    "learning": learning,
    "speed": speed,
}


def with_part(page: str, name: str, lines: Lines) -> str:
    """`page` with `lines` as its part `name`. Raises PageError if there is no such part."""
    text = "\n".join(["", *lines, ""])
    return filled(page, f"<!-- measured: {name} -->", "<!-- end -->", text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing_page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--mt-bench", type=Path, required=True, help="question.jsonl of MT-Bench")
    parser.add_argument("--flask", type=Path, required=True, help="flask_evaluation.parquet")
    parser.add_argument("--lengths", type=Path, required=True, help="output_chars.parquet of ZeroEval")
    parser.add_argument("--runs", type=int, default=2, help="of --folds folds, how many are judged on")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("var/routing"), help="folds that are done")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="NAME")
    given = parser.parse_args(arguments)
    images = given.page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(
        outcomes=given.outcomes,
        mt_bench=given.mt_bench,
        flask=given.flask,
        lengths=given.lengths,
        work=given.out,
        images=images,
        runs=given.runs,
        folds=given.folds,
    )
    try:
        page = given.page.read_text(encoding="utf-8")
        for name in given.only:
            with_part(page, name, ())  # fail early, not after an hour
        for name in given.only:
            sys.stderr.write(f"{name} …\n")
            lines = PARTS[name](sources)
            write_text(with_part(given.page.read_text(encoding="utf-8"), name, lines), given.page)
    except (PageError, OutcomeError, JsonlError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on with the folds that are not done.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
