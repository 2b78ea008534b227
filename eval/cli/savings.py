"""`coterie savings`, on `eval.savings`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.json_documents import json_text
from base.terminal import console, fail, plain
from eval.cli.eval_options import API, ApiKey, PrintJson

if TYPE_CHECKING:
    from eval.savings import Savings, Spending


def savings(
    log: Annotated[
        Path | None,
        typer.Argument(help="Decisions in a file: JSON lines or Parquet.", show_default="those of --api"),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Only the last so many days.", show_default="all")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="From this time on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this time (UTC).")] = None,
    alternative: Annotated[
        str | None,
        typer.Option(
            help="The one expert to compare with.",
            show_default="COTERIE_ALTERNATIVE, else the best for everything",
        ),
    ] = None,
    as_json: PrintJson = False,
    api: Annotated[str, typer.Option(help="The running service.", envvar="COTERIE_API_URL")] = API,
    api_key: ApiKey = None,
) -> None:
    """Say what routing saved in a period, against one fixed expert for every request.

    Tokens and prices are those of each answer. The alternative keeps every prefix cache, and has no shadow
    traffic, so what routing loses by changing experts and by shadows is counted. Scores are not compared
    here: `coterie replay` and `coterie eval` do that.

    Examples:

      coterie savings --days 7

      coterie savings --alternative large --json
    """
    from client import ApiError, Client
    from eval.savings import savings as compare
    from eval.traffic import TrafficError, fetch_traffic, read_traffic

    if days is not None and since is not None:
        fail("give --days or --since, not both", 2)
    begin = datetime.now(UTC) - timedelta(days=days) if days is not None else _utc(since)
    end = _utc(until)
    try:
        if log is not None:
            traffic = read_traffic(log)
        else:
            traffic = fetch_traffic(api, key=api_key, since=begin, until=end)
        with Client(api, key=api_key) as service:
            experts = service.experts()
    except (ApiError, TrafficError) as error:
        fail(error)
    kept = [
        each
        for each in traffic
        if each.created_at is not None
        and (begin is None or each.created_at >= begin)
        and (end is None or each.created_at < end)
    ]
    if not kept:
        fail("none of the decisions is of this period")
    named = alternative or next((each.alternative for each in kept if each.alternative), None)
    known = [each.name for each in experts]
    if named is None or named not in known:
        said = "the decisions name no alternative" if named is None else f"there is no expert {named!r}"
        fail(f"{said}: give --alternative, one of {', '.join(known)}")
    found = compare(kept, experts, named)
    if as_json:
        typer.echo(json_text(found.document()))
        return
    _show(found)


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _show(found: "Savings") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    period = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC" if found.since else ""
    table = Table(
        "",
        "requests",
        "routed",
        found.alternative,
        "shadows",
        "cache lost",
        "saved",
        box=SIMPLE_HEAD,
        title=f"{found.requests} requests, {period}",
        title_justify="left",
    )
    table.add_row("dollars", str(found.compared_dollars), *_cells(found.dollars, 4))
    table.add_row("B·tokens", str(found.compared_compute), *_cells(found.compute, 0))
    printer = console(stderr=False)
    printer.print(table)
    for reason, count in found.left_out.items():
        printer.print(f"not compared: {count} ({plain(reason)})", highlight=False)


def _cells(spending: "Spending | None", digits: int) -> list[str]:
    if spending is None:
        return ["–"] * 5

    def shown(amount: float | None) -> str:
        return "–" if amount is None else f"{amount:,.{digits}f}"

    share = "" if spending.share is None else f" ({spending.share:.0%})"
    amounts = (spending.actual, spending.alternative, spending.shadows, spending.cache_loss)
    return [*map(shown, amounts), f"{shown(spending.saved)}{share}"]
