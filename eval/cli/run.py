"""`coterie eval run`. Thin: reads options, calls `eval.engine`, prints."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eval.catalogue import Keys, RunRequest
    from eval.engine.items import Item
    from eval.engine.manifest import Run

Against = Annotated[
    str,
    typer.Option(
        help="Who is evaluated, with commas between: `coterie`, an expert's name, `NAME=URL` for any "
        "OpenAI-compatible server, `NAME=URL#MODEL`.",
        show_default=False,
    ),
]
ApiUrl = Annotated[
    str, typer.Option(help="The running service, where bare names are asked.", envvar="COTERIE_API_URL")
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="COTERIE_API_KEY", help="Bearer token, if the API wants one.", show_default=False),
]
Runs = Annotated[Path, typer.Option(help="The folder of runs.", metavar="DIR")]


def run(
    benchmark: Annotated[
        str,
        typer.Argument(help="checkable, or a JSONL file of checkable prompts.", metavar="BENCHMARK"),
    ],
    against: Against,
    api: ApiUrl = "http://127.0.0.1:8000/v1",
    limit: Annotated[
        int | None, typer.Option(min=1, help="N questions, from the categories in turn.", show_default="all")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; may be repeated.", show_default="all")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1024, help="Requests in flight to each server at most.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Sent with every request; a negative one is not sent.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(help="The file of answers.", show_default="var/eval/cache/answers.sqlite"),
    ] = None,
    allow_network_code: Annotated[
        bool,
        typer.Option(
            "--allow-network-code",
            help="Run code from answers even where the kernel cannot keep it off the network.",
        ),
    ] = False,
    thinking_tokens: Annotated[
        int,
        typer.Option(min=0, max=32_768, help="Tokens a reply may have beyond what its question allows."),
    ] = 0,
    api_key: ApiKey = None,
    runs: Runs = Path("var/eval/runs"),
) -> None:
    """Run a benchmark against the service, single experts or any OpenAI-compatible server.

    Answers and judgments are kept in a cache: stopped at any moment, `coterie eval resume` goes on, and
    nothing is asked or paid for twice. The run's folder has its manifest, items, verdicts and logs.

    Examples:

      coterie eval run checkable --against coterie,qwen-coder

      coterie eval run mine.jsonl --against coterie,gpt=https://host/v1#gpt-large
    """
    from pydantic import ValidationError

    from eval.catalogue import Keys, RunRequest

    try:
        request = RunRequest(
            benchmark=benchmark,
            against=against,
            api=api,
            limit=limit,
            category=tuple(category or ()),
            concurrency=concurrency,
            seed=None if seed < 0 else seed,
            cache=cache,
            allow_network_code=allow_network_code,
            thinking_tokens=thinking_tokens,
        )
    except ValidationError as error:
        from eval.cli.terminal import fail

        fail("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))
    perform(request, Keys(api=api_key), runs)


def perform(request: "RunRequest", keys: "Keys", runs: Path, folder: Path | None = None) -> None:
    """Run `request`, in `folder` when it goes on; exits with 1 on an error or an incomplete run, 130 on
    Ctrl-C."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from eval.catalogue import options_of, prepare
    from eval.cli.terminal import console, fail, say
    from eval.engine.cache import CacheError
    from eval.engine.contestants import ContestantError
    from eval.engine.items import ItemsError
    from eval.engine.manifest import CACHE, RunError, new_run_id
    from eval.engine.run import RunOptions, run_benchmark
    from eval.suite import SuiteError

    try:
        prepared = prepare(request, keys)
        folder = folder or runs / new_run_id(prepared.benchmark.name)
        options = RunOptions(
            concurrency=request.concurrency,
            seed=request.seed,
            cache=request.cache or CACHE,
            command=tuple(sys.argv[1:]),
            options=options_of(request),
        )
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console(),
        ) as progress:
            total = len(prepared.benchmark.questions)
            bars = {
                each.name: progress.add_task(each.name, total=total, note="") for each in prepared.contestants
            }
            failed = dict.fromkeys(bars, 0)
            seen: set[tuple[str, str]] = set()

            def done(item: "Item") -> None:
                failed[item.contestant] += item.error is not None
                note = f"[red]{failed[item.contestant]} failed[/]" if failed[item.contestant] else ""
                new = (item.contestant, item.question) not in seen
                seen.add((item.contestant, item.question))
                progress.update(bars[item.contestant], advance=int(new), note=note)

            finished = run_benchmark(
                prepared.benchmark,
                prepared.contestants,
                folder,
                options=options,
                replayed=prepared.replayed,
                progress=done,
            )
    except (RunError, ContestantError, SuiteError, CacheError, ItemsError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        name = folder.name if folder else "last"
        say(f"\nStopped. What was answered is kept; go on with: coterie eval resume {name}")
        raise typer.Exit(130) from None
    _show(finished.run)
    if not finished.complete:
        say(
            "[yellow]Not every question was answered and marked.[/] "
            f"Go on with: coterie eval resume {folder.name}"
        )
        raise typer.Exit(1)


def _show(run: "Run") -> None:
    from eval.cli.terminal import console

    console(stderr=False).print(str(run.folder), highlight=False)
