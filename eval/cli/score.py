"""The commands that evaluation adds to `coterie`. Thin: they read options, call, and print."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.progress import ProgressBars
from base.terminal import console, fail, plain, say
from eval.cli.eval_options import API, AnyServer, ApiKey, Category, NetworkCode, SuitePath

if TYPE_CHECKING:
    from client import ExpertInfo
    from eval.scoring import Outcomes
    from eval.suite import Suite


def score(
    api: AnyServer = API,
    suite: SuitePath = None,
    out: Annotated[Path, typer.Option(help="The folder to write the outcome table to.")] = Path(
        "var/outcomes/checkable"
    ),
    expert: Annotated[
        list[str] | None, typer.Option(help="Score this expert; may be repeated.", show_default="all")
    ] = None,
    category: Category = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests in flight for each expert.")] = 4,
    params_b: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZE in billions, for servers that do not say; may be repeated."),
    ] = None,
    thinking_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            max=32_768,
            help="Tokens a reply may have beyond what its prompt allows; thinking experts need thousands.",
        ),
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask everything again; earlier answers go to answers.old.jsonl.")
    ] = False,
    allow_network_code: NetworkCode = False,
    api_key: ApiKey = None,
) -> None:
    """Score every expert on prompts whose answers a program can check.

    Asks each expert each prompt once at temperature 0 through the running service, checks the answers
    (code runs in a sandbox) and writes an outcome table, from which `coterie fit` makes a composition.
    Answers are kept as they come: stopped at any moment, the same command goes on where it was.

    Examples:

      coterie score --out var/outcomes/mine

      coterie score --suite my-prompts.jsonl --expert qwen-coder
    """
    from client import ApiError
    from eval.answers import StoreError
    from eval.sandbox import isolation
    from eval.suite import OWN, SuiteError, load_suite, only

    out_store = out / "answers.jsonl"
    try:
        chosen = only(load_suite(suite or OWN), category or []).with_room(thinking_tokens)
        if fresh and out_store.exists():
            out_store.replace(out_store.with_name("answers.old.jsonl"))
        if not isolation() and not allow_network_code and _has_code(chosen):
            say(
                "[yellow]This machine cannot keep code off the network: prompts answered by code stay "
                "without a score. --allow-network-code runs it all the same.[/]"
            )
        started = time.monotonic()
        outcomes = asyncio.run(
            _run(
                api,
                api_key,
                chosen,
                expert or [],
                _sizes(params_b or []),
                out_store,
                concurrency,
                allow_network_code,
            )
        )
    except (SuiteError, StoreError, ApiError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        say(f"\nStopped. Answers so far are kept in {plain(str(out_store))}; the same command goes on.")
        raise typer.Exit(130) from None
    _finish(outcomes, out, api, time.monotonic() - started)


async def _run(
    base: str,
    key: str | None,
    suite: "Suite",
    names: list[str],
    sizes: dict[str, float],
    store_path: Path,
    concurrency: int,
    allow_network_code: bool,
) -> "Outcomes":
    from client import AsyncClient, RetryPolicy
    from eval.answers import AnswerStore
    from eval.scoring import choose, score_experts, unanswered
    from eval.service import served_experts

    async with AsyncClient(base, key=key, retries=RetryPolicy(), connections=256) as api:
        experts = tuple(_sized(each, sizes) for each in choose(await served_experts(api), names))
        with (
            AnswerStore(store_path) as store,
            ProgressBars() as progress,
        ):
            width = max(len(each.name) for each in experts)
            rows = {}
            for each in experts:
                left = len(unanswered(each, suite, store))
                kept = f"({len(suite.items) - left} kept)" if left < len(suite.items) else ""
                rows[each.name] = progress.add(each.name.ljust(width), left, kept)
            failed = dict.fromkeys(rows, 0)

            def done(name: str, answered: bool) -> None:
                failed[name] += not answered
                progress.advance(rows[name], note=f"{failed[name]} failed" if failed[name] else None)

            return await score_experts(
                api,
                suite,
                experts,
                store,
                concurrency=concurrency,
                allow_network_code=allow_network_code,
                done=done,
            )


def _finish(outcomes: "Outcomes", out: Path, base: str, seconds: float) -> None:
    """Write the table, print the summary; exit with 1 when an expert has no score at all."""
    from rich.table import Table

    from eval.outcome_writing import ALL, cells, failures, summary_rows, write_outcomes
    from eval.scoring import TEMPERATURE
    from eval.service import expert_identity

    write_outcomes(
        outcomes,
        out,
        {
            "api": base,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "suite_digest": outcomes.suite.digest,
            "prompts": len(outcomes.suite.items),
            "temperature": TEMPERATURE,
            "asked_now": outcomes.asked,
            "experts": [expert_identity(each) for each in outcomes.experts],
            "failures": {name: dict(codes) for name, codes in failures(outcomes).items()},
        },
    )
    header, rows = summary_rows(outcomes)
    table = Table(*header, title="Mean score ± standard error", title_justify="left")
    for row in rows:
        if row[0] == ALL:
            table.add_section()
        table.add_row(*row)
    printer = console(stderr=False)
    printer.print(table)
    for name, codes in failures(outcomes).items():
        for code, count in codes.most_common():
            first = next(o for o in outcomes.of(name) if o.error == code)
            printer.print(f"{name}: {count} without a score, {code}: {plain(first.reason)}", highlight=False)
    printer.print(
        f"{outcomes.asked} answers asked for in {seconds:.0f} s; outcome table in {out}", highlight=False
    )
    if any(each.n == 0 for each in cells(outcomes)[ALL].values()):
        raise typer.Exit(1)


def _has_code(suite: "Suite") -> bool:
    return any(item.check.kind == "python" for item in suite.items)


def _sizes(given: list[str]) -> dict[str, float]:
    sizes = {}
    for each in given:
        name, _, size = each.rpartition("=")
        try:
            sizes[name] = float(size)
        except ValueError:
            sizes[name] = 0.0
        if not name or not 0 < sizes[name] < float("inf"):
            raise typer.BadParameter(f"{each!r} is not NAME=SIZE", param_hint="--params-b")
    return sizes


def _sized(expert: "ExpertInfo", sizes: dict[str, float]) -> "ExpertInfo":
    from client import ApiError

    size = sizes.get(expert.name)
    if size is not None:
        return expert.model_copy(update={"params_b": size, "active_params_b": size})
    if expert.params_b is None:
        raise ApiError(
            f"the server does not say how large {expert.name} is; give --params-b {expert.name}=SIZE",
            code="unknown_size",
        )
    return expert
