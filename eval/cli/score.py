"""`coterie score`, on `eval.scoring`."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.progress import ProgressBars
from base.terminal import console, fail, plain, say
from eval.cli.eval_options import API, AnyServer, ApiKey, Cache, Category, NetworkCode, SuitePath

if TYPE_CHECKING:
    from client import ExpertInfo
    from eval.scoring import Outcome, Outcomes, Samples
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
    samples: Annotated[
        int, typer.Option(min=1, max=100, help="Answers to each prompt, from different seeds.")
    ] = 1,
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="EXPERT=CATEGORY,…",
            help="Score this expert on these categories alone; may be repeated.",
            show_default="all",
        ),
    ] = None,
    greedy: Annotated[
        bool,
        typer.Option("--greedy", help="Ask at temperature 0 instead of with each expert's own sampling."),
    ] = False,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Requests in flight for each model; experts over one base share them."
        ),
    ] = 4,
    params_b: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZE in billions, for servers that do not report it; may be repeated."),
    ] = None,
    thinking_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            max=32_768,
            help="Additional tokens per reply; experts that think need thousands.",
        ),
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask everything again; earlier answers go to answers.old.jsonl.")
    ] = False,
    cache: Cache = None,
    allow_network_code: NetworkCode = False,
    api_key: ApiKey = None,
) -> None:
    """Score every expert on checkable prompts.

    Asks each expert each prompt through the running service, with the sampling that it is served with,
    checks the answers (code runs in a sandbox) and writes an outcome table, from which `coterie fit` makes a
    composition. Answers are stored immediately and shared by all commands: an interrupted command resumes
    when run again, and no stored answer is requested twice. First answers go before further samples, small
    experts before large ones.

    Examples:

      coterie score --out var/outcomes/mine

      coterie score --suite my-prompts.jsonl --expert qwen-coder

      coterie score --samples 3 --only smollm2=chat,writing
    """
    from client import ApiError
    from eval.engine.api_line import ApiLine
    from eval.engine.benchmark import opening
    from eval.outcome_writing import write_answers
    from eval.protocols.checkable import item_question
    from eval.sandbox import isolation
    from eval.scoring import find_experts, samples_wanted, score_experts
    from eval.suite import OWN, SuiteError, load_suite, only
    from experts.answer_store import AnswerStore, StoreError, default_store, read_exported
    from experts.asker import Asker

    if greedy and samples > 1:
        raise typer.BadParameter(
            "answers at temperature 0 are all alike: leave out --greedy", param_hint="--samples"
        )
    limited = _categories(within or [])
    answers, exported = cache or default_store(), out / "answers.jsonl"
    try:
        chosen = only(load_suite(suite or OWN), category or []).with_room(thinking_tokens)
        if not isolation() and not allow_network_code and _has_code(chosen):
            say(
                "[yellow]This machine cannot keep code off the network: prompts answered by code stay "
                "without a score. --allow-network-code runs it all the same.[/]"
            )
        sizes = _sizes(params_b or [])
        started = time.monotonic()
        listed, contestants = asyncio.run(find_experts(api, api_key, expert or []))
        experts = [_sized(each, sizes) for each in listed]
        wanted = samples_wanted(chosen, experts, samples, limited)
        base_of = {each.name: each.base or each.name for each in experts}
        if fresh and exported.exists():
            exported.replace(exported.with_name("answers.old.jsonl"))
        with AnswerStore(answers) as store, ProgressBars() as progress:
            asker = Asker(
                store,
                ApiLine(),
                concurrency=concurrency,
                bounded_by=lambda contestant: base_of[contestant.name],
                exported=read_exported(exported),
            )
            for contestant in contestants if fresh else ():
                for item in chosen.items:
                    for sample in range(wanted.get((contestant.name, item.id), 0)):
                        asker.forget(contestant, *opening(item_question(item, sample=sample, greedy=greedy)))
            outcomes = asyncio.run(
                score_experts(
                    asker,
                    chosen,
                    experts,
                    contestants,
                    wanted=wanted,
                    greedy=greedy,
                    allow_network_code=allow_network_code,
                    done=_shown(progress, wanted),
                )
            )
        write_answers(outcomes, contestants, exported)
    except (SuiteError, StoreError, ApiError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        say(f"\nStopped. Answers so far are kept in {plain(str(answers))}; the same command goes on.")
        raise typer.Exit(130) from None
    _finish(outcomes, out, api, time.monotonic() - started)


def _shown(progress: ProgressBars, wanted: "Samples") -> "Callable[[Outcome], None]":
    """A progress bar per expert; returns the callback for outcomes."""
    totals = Counter[str]()
    for (name, _), samples in wanted.items():
        totals[name] += samples
    width = max(map(len, totals))
    bars = {name: progress.add(name.ljust(width), total) for name, total in totals.items()}
    kept, failed = Counter[str](), Counter[str]()

    def done(outcome: "Outcome") -> None:
        name, answer = outcome.expert, outcome.answer
        if answer is not None and answer.kept:
            # Cached results are excluded, since they would distort the estimated time.
            kept[name] += 1
            progress.tell(bars[name], total=totals[name] - kept[name], note=f"({kept[name]} kept)")
            return
        failed[name] += answer is None
        progress.advance(bars[name], note=f"{failed[name]} failed" if failed[name] else None)

    return done


def _finish(outcomes: "Outcomes", out: Path, base: str, seconds: float) -> None:
    """Write the table and print the summary; exits with 1 if an expert has no scores."""
    from rich.table import Table

    from eval.outcome_writing import ALL, cells, failures, summary_rows, write_outcomes
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
            "samples": max(each.sample for each in outcomes.outcomes) + 1,
            "sampling": "greedy" if outcomes.greedy else "own",
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


def _categories(given: list[str]) -> dict[str, list[str]]:
    """Categories by expert, of `EXPERT=CATEGORY,…`."""
    within: dict[str, list[str]] = {}
    for each in given:
        name, _, categories = each.rpartition("=")
        named = [category.strip() for category in categories.split(",")]
        if not name or not all(named):
            raise typer.BadParameter(f"{each!r} is not EXPERT=CATEGORY,…", param_hint="--only")
        within.setdefault(name, []).extend(named)
    return within


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
