"""`coterie eval run`, on `eval.benchmark_registry` and `eval.engine`."""

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
    NetworkCode,
    Runs,
    Same,
    Seed,
    Verdicts,
)
from eval.cli.run_progress import perform, request_from

Against = Annotated[
    str,
    typer.Option(
        help="Contestants, comma-separated: `coterie`, an expert's name, `NAME=URL` for any "
        "OpenAI-compatible server, `NAME=URL#MODEL`.",
        show_default=False,
    ),
]
JudgeNames = Annotated[
    str,
    typer.Option(help="Judges, named as in --against; several form a panel.", show_default=False),
]
Answers = Annotated[
    Path | None,
    typer.Option(help="Existing answers to judge: JSONL, Parquet or a folder.", metavar="FILE"),
]
Turns = Annotated[int, typer.Option(min=1, max=2, help="MT-Bench: 1 asks only the first turns.")]


def run(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="held-out, checkable, mt-bench, mt-bench-exact, arena-hard, arena-hard-v2, or a JSONL "
            "file of checkable prompts.",
            metavar="BENCHMARK",
        ),
    ],
    against: Against = "",
    judge: JudgeNames = "",
    data: Data = None,
    limit: Limit = None,
    category: Category = None,
    turns: Turns = 2,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum tokens of an answer.", show_default="the protocol's"),
    ] = None,
    thinking_tokens: Annotated[
        int,
        typer.Option(min=0, max=32_768, help="Additional tokens for experts that think."),
    ] = 0,
    mode: Mode = "single",
    baseline: Baseline = None,
    answers: Answers = None,
    judge_prompts: JudgePrompts = None,
    judge_max_tokens: JudgeTokens = 1024,
    judge_temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    judge_explains: JudgeExplains = True,
    judge_structured: JudgeStructured = True,
    verdicts: Verdicts = None,
    same: Same = None,
    composition: Annotated[
        Path | None,
        typer.Option(
            help="The routing composition's folder, to exclude prompts that it was fitted on.",
            show_default="found by its digest",
            metavar="DIR",
        ),
    ] = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Include prompts that the composition was fitted on.")
    ] = False,
    allow_network_code: NetworkCode = False,
    api: ApiUrl = API,
    api_key: ApiKey = None,
    key: Keys = None,
    concurrency: Concurrency = 8,
    seed: Seed = 0,
    cache: Cache = None,
    runs: Runs = RUNS,
) -> None:
    """Run a benchmark against the service, single experts or any OpenAI-compatible server.

    Answers and judgments are stored in a file that all commands share: after an interruption, `coterie eval
    resume` continues, and nothing is asked or paid for twice. The run's folder has its manifest, items,
    verdicts, report and Inspect's logs (`inspect view --log-dir RUN/logs`).

    Examples:

      coterie eval run checkable --against coterie,qwen-coder

      coterie eval run mt-bench --against coterie,qwen-coder --judge gpt=https://host/v1#gpt-large

      coterie eval run arena-hard --data own --against coterie --judge qwen-coder
    """
    perform(request_from(locals()), api_key=api_key, keys=key or [], runs=runs)
