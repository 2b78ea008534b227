"""`coterie canary`: a second composition on a share of the traffic, on `routers.canary` and `eval.canary`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.json_documents import json_text
from base.terminal import console, fail, plain, warn
from eval.cli.eval_options import API, ApiKey, PrintJson

if TYPE_CHECKING:
    from eval.canary import CanaryReport, Side
    from routers.canary import CanaryFolders

app = typer.Typer(
    name="canary",
    help="Try a second composition on a share of the traffic, then promote it or go back.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Served = Annotated[
    Path,
    typer.Option(
        "--composition",
        help="The folder of the composition that is served, on this machine.",
        envvar="COTERIE_COMPOSITION",
        metavar="DIR",
    ),
]
Api = Annotated[str, typer.Option(help="The running service.", envvar="COTERIE_API_URL")]
Margin = Annotated[
    float,
    typer.Option(min=0, max=1, help="Score that may be lost, as for a cheaper composition."),
]
Least = Annotated[
    int,
    typer.Option(min=1, help="Rated requests that the two answer differently, before there is a verdict."),
]
SHIPPED = Path(__file__).resolve().parents[2] / "routers" / "compositions"


@app.callback()
def group() -> None:
    """Try a second composition on a share of the traffic, then promote it or go back."""


@app.command("start")
def start(
    candidate: Annotated[Path, typer.Argument(help="The folder of the new composition.", metavar="DIR")],
    composition: Served,
    share: Annotated[float, typer.Option(help="Of the conversations, above 0 and below 1.")] = 0.1,
    api: Api = API,
    api_key: ApiKey = None,
) -> None:
    """Let a new composition decide a share of the conversations.

    A conversation stays with one composition. Requests that are shadowed (COTERIE_SHADOW_RATE) are also
    answered by the expert that the other composition would have chosen.

    Example: `coterie canary start var/refitted --composition var/composition --share 0.1`
    """
    _change(composition, lambda folders: folders.start(candidate, share), api, api_key)


@app.command("status")
def status(
    composition: Served,
    margin: Margin = 0.0,
    least: Least = 30,
    as_json: PrintJson = False,
    api: Api = API,
    api_key: ApiKey = None,
) -> None:
    """Compare the two compositions on the traffic since the canary began, and say whether to promote it.

    Rate answers first: people do (/v1/feedback), `coterie eval feedback` by checks or a judge.
    """
    report = _report(composition, margin, least, api, api_key)
    if as_json:
        typer.echo(json_text(report.document()))
        return
    _show(report)


@app.command("promote")
def promote(
    composition: Served,
    margin: Margin = 0.0,
    least: Least = 30,
    force: Annotated[bool, typer.Option("--force", help="Whatever the comparison says.")] = False,
    api: Api = API,
    api_key: ApiKey = None,
) -> None:
    """Serve the canary to everybody, if the interval of its score's difference allows it.

    What was served is kept: `coterie canary rollback` serves it again.
    """
    if not force:
        report = _report(composition, margin, least, api, api_key)
        if report.verdict != "promote":
            _show(report)
            fail("not promoted; --force does it all the same")
    _change(composition, lambda folders: folders.promote(), api, api_key)


@app.command("stop")
def stop(composition: Served, api: Api = API, api_key: ApiKey = None) -> None:
    """End the canary: the served composition decides everything again."""
    _change(composition, lambda folders: folders.stop(), api, api_key)


@app.command("rollback")
def rollback(composition: Served, api: Api = API, api_key: ApiKey = None) -> None:
    """Serve again what was served before the last promotion."""
    _change(composition, lambda folders: folders.roll_back(), api, api_key)


def _change(
    composition: Path, change: "Callable[[CanaryFolders], None]", api: str, api_key: str | None
) -> None:
    """Change the folders and have the running service read them."""
    from client import ApiError, Client
    from routers.canary import CanaryFolders
    from routers.composition import CompositionError

    served = composition.resolve()
    if served.parent == SHIPPED:
        fail(
            f"{served.name} is the shipped composition, which stays as it is: copy it (cp -r {composition} "
            "var/composition) and serve the copy (COTERIE_COMPOSITION=var/composition)"
        )
    try:
        change(CanaryFolders(served))
    except (CompositionError, OSError) as error:
        fail(error)
    except ValueError as error:
        fail(error, 2)
    try:
        with Client(api, key=api_key) as service:
            done = service.reload()
    except ApiError as error:
        warn(f"the folders are changed; no service has read them yet ({error})")
        return
    canary = f", canary {done.canary}" if done.canary else ""
    typer.echo(f"composition {done.new}{canary}")


def _report(composition: Path, margin: float, least: int, api: str, api_key: str | None) -> "CanaryReport":
    from eval.canary import judge_canary
    from eval.offpolicy import composition_target
    from eval.traffic import TrafficError, fetch_traffic
    from routers.canary import CanaryFolders
    from routers.composition import CompositionError, load_composition
    from routers.encoder import EncoderMissing, load_encoder

    folders = CanaryFolders(composition.resolve())
    try:
        settings = folders.settings()
        if settings is None:
            fail(f"there is no canary beside {composition}: `coterie canary start` makes one")
        pair = load_composition(folders.served), load_composition(folders.canary)
        log = [
            each
            for each in fetch_traffic(api, key=api_key, since=settings.started_at)
            if each.created_at is not None and each.created_at >= settings.started_at
        ]
        targets = None
        if any(each.messages is not None for each in log):
            precision = "float32" if "float32" in pair[0].encoder_revision else "int8"
            encoder = load_encoder(precision=precision, threads=1)  # type: ignore[arg-type]
            targets = composition_target(pair[0], encoder), composition_target(pair[1], encoder)
        return judge_canary(log, pair[0].digest, pair[1].digest, targets, margin=margin, least=least)
    except (CompositionError, EncoderMissing, TrafficError) as error:
        fail(error)


def _show(report: "CanaryReport") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("", "requests", "failed", "rated", "score", "active, B", "median s", box=SIMPLE_HEAD)
    for name, side in (("served", report.served), ("canary", report.canary)):
        table.add_row(name, *_row(side))
    printer = console(stderr=False)
    printer.print(table)
    if report.by == "paired":
        printer.print(
            f"{report.same} requests get the same expert from both, {report.different} another; "
            f"{report.compared} of these are rated under both.",
            highlight=False,
        )
    else:
        printer.print("Prompts are not kept, so the means of the two groups are compared.", highlight=False)
    printer.print(f"{report.verdict}: {plain(report.why)}", highlight=False)


def _row(side: "Side") -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    counts = [str(side.requests), str(side.failed), str(side.rated)]
    return [*counts, shown(side.score, 3), shown(side.active_params_b, 2), shown(side.median_s, 1)]
