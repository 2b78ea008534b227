"""Options shared by several evaluation commands."""

from pathlib import Path
from typing import Annotated

import typer

API = "http://127.0.0.1:8000/v1"
"""Default address of the service."""
RUNS = Path("var/eval/runs")

# Contestants and requests.

ApiUrl = Annotated[
    str, typer.Option(help="The running service, which serves names without a URL.", envvar="COTERIE_API_URL")
]
AnyServer = Annotated[
    str, typer.Option(help="The running service, or any OpenAI-compatible server.", envvar="COTERIE_API_URL")
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="COTERIE_API_KEY", help="Bearer token, if the API requires one.", show_default=False),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", help="NAME=VARIABLE: the environment variable that holds the key of a contestant or judge."
    ),
]
Concurrency = Annotated[int, typer.Option(min=1, max=1024, help="Maximum requests in flight per server.")]
Seed = Annotated[
    int, typer.Option(help="Sent with requests above temperature 0; a negative one is not sent.")
]
NetworkCode = Annotated[
    bool,
    typer.Option(
        "--allow-network-code",
        help="Run code from answers even if the kernel cannot block its network access.",
    ),
]

# Questions.

SuitePath = Annotated[
    Path | None,
    typer.Option(help="A JSONL file of checkable prompts, or a folder of them.", show_default="our own"),
]
Category = Annotated[
    list[str] | None, typer.Option(help="Only this category; may be repeated.", show_default="all")
]
Data = Annotated[
    str | None,
    typer.Option(
        help="A folder with the question set, or `own` for our small one.",
        show_default="downloaded from upstream",
        metavar="DIR",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="N questions, drawn evenly from the categories.", show_default="all")
]
Mode = Annotated[str, typer.Option(help="MT-Bench: `single` grades answers, `pairwise` compares them.")]
Baseline = Annotated[
    str | None, typer.Option(help="The model that answers are compared with.", show_default="the protocol's")
]

# Judges.

JudgePrompts = Annotated[
    Path | None,
    typer.Option(
        help="Upstream judge prompts: MT-Bench's judge_prompts.jsonl or an Arena-Hard config (YAML).",
        show_default="our own wording",
        metavar="FILE",
    ),
]
JudgeTokens = Annotated[int, typer.Option(min=1, help="Maximum tokens of a judgment.")]
JudgeExplains = Annotated[
    bool, typer.Option(help="Let judges explain before the verdict: better verdicts, more tokens.")
]
JudgeStructured = Annotated[
    bool,
    typer.Option(help="Constrain judgments to a JSON schema if the server supports it."),
]
Verdicts = Annotated[
    Path | None,
    typer.Option(
        help="Human verdicts or those of a stronger judge, to measure the judges' agreement.", metavar="FILE"
    ),
]
Same = Annotated[
    list[str] | None,
    typer.Option(help="NAME=OTHER: what the file of --verdicts calls a model; may be repeated."),
]

# Input and output.

Cache = Annotated[
    Path | None,
    typer.Option(help="The answer store, shared by all commands.", show_default="var/answers.sqlite"),
]
Runs = Annotated[Path, typer.Option(help="The folder of runs.", metavar="DIR")]
Newest = Annotated[int | None, typer.Option(min=1, help="Only the newest N decisions of the service.")]
FiguresFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here.", metavar="FILE")]
PrintJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
