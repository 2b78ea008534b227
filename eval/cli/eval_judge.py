"""`coterie eval judge`: `coterie eval run` on answers from a file."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.eval_options import (
    API,
    RUNS,
    ApiKey,
    ApiUrl,
    Baseline,
    Cache,
    Category,
    Concurrency,
    Data,
    JudgeExplains,
    JudgePrompts,
    JudgeStructured,
    JudgeTokens,
    Keys,
    Limit,
    Mode,
    Runs,
    Same,
    Seed,
    Verdicts,
)
from eval.cli.run_progress import perform, request_from


def judge(
    answers: Annotated[
        Path,
        typer.Argument(
            help="Answers of models: JSONL, Parquet (question_id, model, answer) or a folder.",
            metavar="ANSWERS",
        ),
    ],
    by: Annotated[
        str,
        typer.Option("--judge", help="Judges: an expert's name or NAME=URL#MODEL; several form a panel."),
    ],
    benchmark: Annotated[
        str, typer.Option(help="The benchmark: arena-hard, arena-hard-v2 or mt-bench.")
    ] = "arena-hard",
    models: Annotated[
        str,
        typer.Option(help="Models to judge, comma-separated.", show_default="all but the baseline"),
    ] = "",
    data: Data = None,
    baseline: Baseline = None,
    limit: Limit = None,
    category: Category = None,
    mode: Mode = "single",
    judge_prompts: JudgePrompts = None,
    judge_max_tokens: JudgeTokens = 1024,
    judge_explains: JudgeExplains = True,
    judge_structured: JudgeStructured = True,
    verdicts: Verdicts = None,
    same: Same = None,
    api: ApiUrl = API,
    api_key: ApiKey = None,
    key: Keys = None,
    concurrency: Concurrency = 8,
    seed: Seed = 0,
    cache: Cache = None,
    runs: Runs = RUNS,
) -> None:
    """Judge existing answers: only the judges are asked.

    For comparing judges, and for answers generated elsewhere.

    Example:

      coterie eval judge answers.parquet --data questions/ --judge qwen-coder --verdicts gpt4.parquet
    """
    request = request_from({**locals(), "judge": by, "against": models})
    perform(request, api_key=api_key, keys=key or [], runs=runs)
