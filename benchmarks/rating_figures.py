"""Reproduces the numbers of docs/explanation/ratings.md about real verdicts.

    python -m benchmarks.rating_figures DATA [--out var/ratings]

DATA is a folder with `arena_hard_v0_1` (verdicts on each question and published leaderboards) and
`routellm_evals` (MT-Bench judgments). Rates them with `eval.rating`, compares the ratings with the
published ones, and times 100,000 synthetic verdicts. Exits with 1 if a published score is not reproduced.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base.json_documents import write_json
from eval.rating.columns import Columns
from eval.rating.rate import rate
from eval.rating.settings import RatingSettings
from eval.rating.table import check_verdicts, read_verdicts

OFFICIAL = "gpt-4-1106-preview"
UNVERIFIED = "gpt-4-1106-preview (per config; unverified)"


@dataclass(frozen=True, slots=True)
class Board:
    """A published leaderboard, the judges compared with it, and its names of the models.

    `same_judge`: the board is by the same judge, so that scores are comparable, not only ranks.
    """

    title: str
    file: str
    judges: tuple[str, ...]
    names: Mapping[str, str]
    same_judge: bool


PLAIN = {
    "gpt-4o": "gpt-4o-2024-05-13",
    "claude-3-5-sonnet-20240620": "claude-3-5-sonnet-20240620",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gemini-1.5-pro-api-0514": "gemini-1.5-pro-api-0514",
    "mistral-large-2407": "mistral-large-2407",
    "llama-3.1-405b-instruct": "llama-3.1-405b-instruct",
    "claude-3-opus-20240229": "claude-3-opus-20240229",
    "gemma-2-27b-it": "gemma-2-27b-it",
    "llama3_1_70b": "llama-3.1-70b-instruct",
    "llama3_70b": "llama-3-70b-instruct",
    "mixtral-8x22b-instruct-v0.1": "mixtral-8x22b-instruct-v0.1",
    "llama3_1_8b": "llama-3.1-8b-instruct",
    "gpt-3.5-turbo-0125 [gpt-4o]": "gpt-3.5-turbo-0125",
}
BOARDS = (
    Board(
        "The judge of the leaderboard (GPT-4-1106-preview)",
        "leaderboard_20240731_official.csv",
        (OFFICIAL,),
        {"gpt-4-0613": "gpt-4-0613", "gpt-3.5-turbo-0125": "gpt-3.5-turbo-0125"},
        True,
    ),
    Board(
        "The same judge by its configuration, another team's runs and leaderboard",
        "leaderboard_20250217_meltemi.csv",
        (UNVERIFIED,),
        {
            "Nexusflow__Athene-V2-Chat": "athene-v2-chat",
            "Qwen__Qwen2.5-72B-Instruct": "qwen2.5-72b-instruct",
            "mistralai__Mistral-Large-Instruct-2407": "mistral-large-2407",
        },
        False,
    ),
    Board(
        "Another judge (GPT-4o): ranks may agree, scores cannot",
        "leaderboard_20240731_official.csv",
        ("gpt-4o", "gpt-4o-batch"),
        PLAIN,
        False,
    ),
)
MT_BENCH = {"gpt-4-1106-preview": 9.23, "mistralai/Mixtral-8x7B-Instruct-v0.1": 8.34}
WITHIN_PAIRWISE, WITHIN_GRADED = 1.0, 0.01
SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("var/ratings"))
    options = parser.parse_args(arguments)
    folder = options.data / "arena_hard_v0_1"
    lines: list[str] = []
    missed: list[str] = []

    arena = rate(read_verdicts(folder / "battles_per_question.parquet"), RatingSettings())
    write_json(arena, options.out / "arena_hard.json")
    for board in BOARDS:
        lines += board_lines(board, arena, folder / board.file, missed)
    judgments = options.data / "routellm_evals" / "mt_bench_judgements.parquet"
    graded = rate(read_verdicts(judgments), RatingSettings())
    write_json(graded, options.out / "mt_bench.json")
    lines += mt_bench_lines(graded, missed)
    lines += speed_lines(missed)

    (options.out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")
    if missed:
        sys.stdout.write("\nmissed: " + "; ".join(missed) + "\n")
        sys.exit(1)


def board_lines(board: Board, ratings: Mapping[str, Any], path: Path, missed: list[str]) -> list[str]:
    """Compare a leaderboard with the ratings by one judge; deviations are added to `missed`."""
    from scipy.stats import kendalltau, spearmanr

    published = read_board(path)
    rated = [
        each
        for each in ratings["models"]
        if (each["judge"] in board.judges and each["model"] in board.names)
        or each["model"] == ratings["baseline"]
    ]
    lines = [f"### {board.title}", ""]
    lines += ["| model | ours | 95 % | published | 95 % | difference |", "|---|---|---|---|---|---|"]
    pairs = []
    for each in rated:
        score, low, high = published[board.names.get(each["model"], each["model"])]
        pairs.append((each["score"], score))
        gap = each["score"] - score
        if board.same_judge and abs(gap) > WITHIN_PAIRWISE:
            missed.append(f"{each['model']} {each['score']:.2f} against {score:.2f}")
        lines.append(
            f"| {each['model']} | {each['score']:.2f} | {each['low']:.1f} to {each['high']:.1f} "
            f"| {score:.2f} | {low:.1f} to {high:.1f} | {gap:+.2f} |"
        )
    ours, theirs = zip(*pairs, strict=True)
    lines += [
        "",
        f"{len(pairs)} models: Spearman {spearmanr(ours, theirs).statistic:.3f}, "
        f"Kendall {kendalltau(ours, theirs).statistic:.3f}.",
        "",
    ]
    return lines


def read_board(path: Path) -> dict[str, tuple[float, float, float]]:
    """Published score and interval by model."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["model"]: (float(row["score"]), float(row["rating_q025"]), float(row["rating_q975"]))
            for row in csv.DictReader(file)
        }


def mt_bench_lines(ratings: Mapping[str, Any], missed: list[str]) -> list[str]:
    """Compare MT-Bench ratings with published scores of two models."""
    lines = [
        "### MT-Bench",
        "",
        "| model | ours | 95 % | turn 1 | turn 2 | published |",
        "|---|---|---|---|---|---|",
    ]
    for each in ratings["models"]:
        known = MT_BENCH.get(each["model"])
        if known is not None and abs(each["score"] - known) > WITHIN_GRADED:
            missed.append(f"{each['model']} {each['score']:.3f} against {known}")
        turns = " | ".join(f"{each['turns'][turn]['score']:.2f}" for turn in ("1", "2"))
        lines.append(
            f"| {each['model']} | {each['score']:.3f} | {each['low']:.2f} to {each['high']:.2f} | {turns} "
            f"| {known or '–'} |"
        )
    return [*lines, ""]


def speed_lines(missed: list[str]) -> list[str]:
    """Seconds for 100,000 synthetic verdicts and 1,000 bootstrap rounds."""
    lines = ["### 100,000 verdicts, 1,000 rounds", "", "| table | seconds |", "|---|---|"]
    shapes: dict[str, Callable[[], Columns]] = {
        "50 models against one baseline, 2,000 questions": lambda: made_up(50, 2000),
        "the same with four style columns": lambda: made_up(50, 2000, styled=True),
        "50 models against each other, 2,000 questions": lambda: made_up(50, 2000, everyone=True),
        "2 models against one baseline, 50,000 questions": lambda: made_up(2, 50_000),
    }
    for name, make in shapes.items():
        columns = make()
        started = time.perf_counter()
        rate(check_verdicts(columns), RatingSettings())
        seconds = time.perf_counter() - started
        if seconds > SECONDS:
            missed.append(f"{name}: {seconds:.0f} s")
        lines.append(f"| {name} | {seconds:.1f} |")
    return lines


def made_up(
    models: int, questions: int, *, everyone: bool = False, styled: bool = False, verdicts: int = 100_000
) -> Columns:
    """Columns of `verdicts` rows, two games each, by models of increasing strength."""
    random = np.random.default_rng(0)
    per_model = verdicts // models
    question = np.concatenate([random.permutation(questions)[:per_model] for _ in range(models)])
    model = np.repeat(np.arange(models), per_model)
    rows = len(model)
    other = (model + 1 + random.integers(max(1, models - 1), size=rows)) % models
    strength = np.linspace(-1.5, 1.5, models)
    odds = strength[model] - (strength[other] if everyone else 0)
    win = random.binomial(2, 1 / (1 + np.exp(-odds)))
    cells: dict[str, Sequence[Any]] = {
        "question_id": [f"q{each}" for each in question],
        "model": [f"m{each}" for each in model],
        "baseline": [f"m{each}" for each in other] if everyone else ["baseline"] * rows,
        "win": win.tolist(),
        "tie": [0] * rows,
        "loss": (2 - win).tolist(),
    }
    if styled:
        for name, most in (("length", 900), ("headers", 8), ("lists", 20), ("bold", 20)):
            for side in ("", "baseline_"):
                cells[side + name] = random.integers(1, most, size=rows).tolist()
    return Columns("made up", cells, range(1, rows + 1))


if __name__ == "__main__":
    main()
