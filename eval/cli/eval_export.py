"""`coterie eval export`, on `eval.outcome_export`."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.terminal import console, fail, plain
from eval.cli.eval_options import API, ApiKey, Newest
from eval.votes import SHARE

if TYPE_CHECKING:
    from client import ExpertInfo
    from eval.votes import VoteReport
    from routers.composition import ExpertCard


def export(
    out: Annotated[Path, typer.Argument(help="The folder to write the outcome table to.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(help="The folder of a run of `coterie eval run`; may be repeated.", metavar="DIR"),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Rated answers of the running service.")] = False,
    log: Annotated[
        list[Path] | None,
        typer.Option(help="Decisions in a file: JSON lines or Parquet; may be repeated.", metavar="FILE"),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="An outcome table to include; may be repeated.", metavar="DIR"),
    ] = None,
    experts: Annotated[
        Path | None,
        typer.Option(help="An experts.yaml with the sizes of experts.", metavar="FILE"),
    ] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="Only this expert; may be repeated.", show_default="all that were scored"),
    ] = None,
    key_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Most that one API key's votes count of an expert's in a category, and of all; "
            "of few keys each counts alike. 1 counts all.",
        ),
    ] = SHARE,
    trust_key: Annotated[
        list[str] | None,
        typer.Option(
            help="The label of a key whose votes all count, such as that of your judge; may be repeated.",
            metavar="LABEL",
        ),
    ] = None,
    api: Annotated[
        str, typer.Option(help="The running service, for --live.", envvar="COTERIE_API_URL")
    ] = API,
    limit: Newest = None,
    api_key: ApiKey = None,
) -> None:
    """Make an outcome table from runs, live feedback and shadow answers, for `coterie fit`.

    Closes the loop of fitting, evaluating and refitting. Prompts that a composition was fitted on are
    excluded from its later evaluations (decontamination).

    Examples:

      coterie eval export var/outcomes/lived --live --table var/outcomes/mine

      coterie eval export var/outcomes/judged --run var/eval/runs/RUN
    """
    from eval.outcome_export import (
        ExportError,
        from_run,
        from_table,
        from_traffic,
        gathered_table,
        write_table,
    )
    from eval.traffic import TrafficError, fetch_traffic, read_traffic
    from routers.outcome_table import OutcomeError, read_cards, read_outcomes

    if not (run or live or log or table):
        fail("name something to export: --run, --live, --log or --table")
    try:
        sources = [from_table(read_outcomes(each)) for each in table or []]
        sources += [from_run(each) for each in run or []]
        logged = [each for path in log or [] for each in read_traffic(path)]
        if live:
            logged += fetch_traffic(api, key=api_key, limit=limit)
        once = {each.id: each for each in logged}.values()
        sources.append(from_traffic(once, share=key_share, trusted=trust_key or ()))
        cards = {card.name: card for card in read_cards(experts)} if experts else {}
        if live and not experts:
            cards = _served(api, api_key)
        made = gathered_table(sources, cards=cards, only=expert or None)
        write_table(made, out)
    except (ExportError, OutcomeError, TrafficError, OSError) as error:
        fail(error)
    printer = console(stderr=False)
    scored = {name: int((made.scores[:, column] >= 0).sum()) for column, name in enumerate(made.expert_names)}
    shown = ", ".join(f"{plain(name)} {count}" for name, count in scored.items())
    printer.print(f"{out}: {len(made)} prompts; scores: {shown}", highlight=False)
    why = Counter[str]()
    for source in sources:
        why.update(source.left_out)
    for source in sources:
        if source.votes is not None and source.votes.keys > 1:
            printer.print(_said_of_votes(source.votes), highlight=False)
    for reason, count in why.most_common():
        printer.print(f"left out: {count} {plain(reason)}", highlight=False)


def _said_of_votes(votes: "VoteReport") -> str:
    shares = f"gave {votes.gave:.0%} of the votes, counted as {votes.counted:.0%}"
    left_out = f"; {votes.left_out} votes left out (--key-share, --trust-key)" if votes.left_out else ""
    name = "without one" if votes.largest is None else plain(votes.largest)
    return f"{votes.keys} keys; the largest ({name}) {shares}{left_out}"


def _served(base: str, key: str | None) -> "dict[str, ExpertCard]":
    """The full cards of the service's experts; logged decisions contain only size and price."""
    from client import ApiError, AsyncClient
    from eval.outcome_export import ExportError, cards_of
    from eval.service import served_experts

    async def facts() -> "tuple[ExpertInfo, ...]":
        async with AsyncClient(base, key=key) as api:
            return await served_experts(api)

    try:
        return cards_of(asyncio.run(facts()))
    except ApiError as error:
        raise ExportError(str(error)) from error
