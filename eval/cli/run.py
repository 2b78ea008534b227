"""`coterie eval run`. Thin: reads options, calls `eval.catalogue` and `eval.engine`, prints."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.performing import (
    ApiKey,
    ApiUrl,
    Cache,
    Concurrency,
    Keys,
    Runs,
    Seed,
    pairs,
    perform,
    request_of,
)

Against = Annotated[
    str,
    typer.Option(
        help="Who is evaluated, with commas between: `coterie`, an expert's name, `NAME=URL` for any "
        "OpenAI-compatible server, `NAME=URL#MODEL`.",
        show_default=False,
    ),
]
JudgeNames = Annotated[
    str,
    typer.Option(help="Who judges, named as in --against; several make a panel.", show_default=False),
]
JudgePrompts = Annotated[
    Path | None,
    typer.Option(
        help="Judge prompts of upstream's: MT-Bench's judge_prompts.jsonl or an Arena-Hard config (YAML).",
        show_default="our own wording",
        metavar="FILE",
    ),
]
JudgeTokens = Annotated[int, typer.Option(min=1, help="Tokens of a judgment at most.")]
JudgeExplains = Annotated[
    bool, typer.Option(help="Let judges explain before the verdict: better verdicts, more tokens.")
]
JudgeStructured = Annotated[
    bool, typer.Option(help="Hold judges to a JSON schema where their servers can; else read their text.")
]
Data = Annotated[
    str | None,
    typer.Option(
        help="A folder with the question set, or `own` for our small one.",
        show_default="fetched from its upstream",
        metavar="DIR",
    ),
]
Answers = Annotated[
    Path | None,
    typer.Option(help="Answers to judge instead of asking: JSONL, Parquet or a folder.", metavar="FILE"),
]
Baseline = Annotated[
    str | None, typer.Option(help="Whom answers are compared with.", show_default="the protocol's")
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="N questions, from the categories in turn.", show_default="all")
]
Category = Annotated[
    list[str] | None, typer.Option(help="Only this category; may be repeated.", show_default="all")
]
Mode = Annotated[str, typer.Option(help="MT-Bench: `single` grades answers, `pairwise` compares them.")]
Turns = Annotated[int, typer.Option(min=1, max=2, help="MT-Bench: 1 asks the first turns alone.")]

Same = Annotated[
    list[str] | None,
    typer.Option(help="NAME=OTHER: what the file of --verdicts calls a model; may be repeated."),
]


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
        typer.Option(min=1, help="Tokens of an answer at most.", show_default="the protocol's"),
    ] = None,
    thinking_tokens: Annotated[
        int,
        typer.Option(min=0, max=32_768, help="Tokens an answer may have beyond that, for thinking experts."),
    ] = 0,
    mode: Mode = "single",
    baseline: Baseline = None,
    answers: Answers = None,
    judge_prompts: JudgePrompts = None,
    judge_max_tokens: JudgeTokens = 1024,
    judge_temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    judge_explains: JudgeExplains = True,
    judge_structured: JudgeStructured = True,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            help="Verdicts of people or of a stronger judge, to compare the judges with.", metavar="FILE"
        ),
    ] = None,
    same: Same = None,
    composition: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the composition that routes, to leave out what it was fitted on.",
            show_default="found by its digest",
            metavar="DIR",
        ),
    ] = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Report on prompts that the composition was fitted on, too.")
    ] = False,
    allow_network_code: Annotated[
        bool,
        typer.Option(
            "--allow-network-code",
            help="Run code from answers even where the kernel cannot keep it off the network.",
        ),
    ] = False,
    api: ApiUrl = "http://127.0.0.1:8000/v1",
    api_key: ApiKey = None,
    key: Keys = None,
    concurrency: Concurrency = 8,
    seed: Seed = 0,
    cache: Cache = None,
    runs: Runs = Path("var/eval/runs"),
) -> None:
    """Run a benchmark against the service, single experts or any OpenAI-compatible server.

    Answers and judgments are kept in a cache: stopped at any moment, `coterie eval resume` goes on, and
    nothing is asked or paid for twice. The run's folder has its manifest, items, verdicts, report and
    Inspect's logs (`inspect view --log-dir RUN/logs`).

    Examples:

      coterie eval run checkable --against coterie,qwen-coder

      coterie eval run mt-bench --against coterie,qwen-coder --judge gpt=https://host/v1#gpt-large

      coterie eval run arena-hard --data own --against coterie --judge qwen-coder
    """
    request = request_of(
        benchmark=benchmark,
        against=against,
        judge=judge,
        data=data,
        limit=limit,
        category=tuple(category or ()),
        turns=turns,
        max_tokens=max_tokens,
        thinking_tokens=thinking_tokens,
        mode=mode,
        baseline=baseline,
        answers=answers,
        judge_prompts=judge_prompts,
        judge_max_tokens=judge_max_tokens,
        judge_temperature=judge_temperature,
        judge_explains=judge_explains,
        judge_structured=judge_structured,
        verdicts=verdicts,
        same=pairs(same or [], "--same"),
        composition=composition,
        allow_seen=allow_seen,
        allow_network_code=allow_network_code,
        api=api,
        concurrency=concurrency,
        seed=None if seed < 0 else seed,
        cache=cache,
    )
    perform(request, api_key=api_key, keys=key or [], runs=runs)
