"""`coterie eval offpolicy`, on `eval.offpolicy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.json_documents import DocumentError, write_json
from base.terminal import console, fail, plain
from eval.cli.eval_options import API, ApiKey, FiguresFile, Newest

if TYPE_CHECKING:
    from rich.table import Table

    from eval.offpolicy import Estimated, OffPolicyReport, Target
    from eval.traffic import Logged


def offpolicy(
    log: Annotated[
        Path | None,
        typer.Argument(help="Decisions in a file: JSON lines or Parquet.", show_default="those of --api"),
    ] = None,
    api: Annotated[
        str, typer.Option(help="The running service, if no file is given.", envvar="COTERIE_API_URL")
    ] = API,
    limit: Newest = None,
    composition: Annotated[
        list[Path] | None,
        typer.Option(help="The folder of a composition to estimate; may be repeated.", metavar="DIR"),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="The log's router under this active weight; may be repeated."),
    ] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="This expert for everything; may be repeated.", show_default="every expert"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json_file: FiguresFile = None,
    api_key: ApiKey = None,
) -> None:
    """Estimate what another composition would have scored on live traffic.

    Needs explored decisions (COTERIE_EXPLORE) with feedback (/v1/feedback). Other weights and single
    experts can be estimated from any such log; another composition needs stored prompts
    (COTERIE_STORE_PROMPTS).

    Examples:

      coterie eval offpolicy --weight 0.05 --weight 0.1

      coterie eval offpolicy decisions.jsonl --composition var/composition
    """
    from eval.offpolicy import OffPolicyError, evaluate
    from eval.traffic import TrafficError, fetch_traffic, read_traffic
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing

    try:
        traffic = read_traffic(log) if log is not None else fetch_traffic(api, key=api_key, limit=limit)
        targets = _targets(traffic, composition or [], weight or [], expert or [])
        report = evaluate(traffic, targets, seed=seed)
    except (CompositionError, EncoderMissing, OffPolicyError, TrafficError) as error:
        fail(error)
    printer = console(stderr=False)
    if not printer.is_terminal:
        printer.width = 160
    printer.print(_table(report))
    for reason, count in report.left_out.items():
        printer.print(f"left out: {count} {plain(reason)}", highlight=False)
    for each in report.policies:
        for warning in each.warnings:
            printer.print(f"[yellow]{plain(each.policy)}: {plain(warning)}[/]", highlight=False)
    if json_file is not None:
        try:
            write_json(report.document(), json_file)
        except (DocumentError, OSError) as error:
            fail(error)


def _targets(
    traffic: "tuple[Logged, ...]", folders: list[Path], weights: list[float], experts: list[str]
) -> "dict[str, Target]":
    from eval.offpolicy import OffPolicyError, always, as_decided, composition_target, weighing
    from routers.composition import load_composition
    from routers.encoder import load_encoder

    known = sorted({choice.expert for each in traffic for choice in each.ranking})
    if unknown := sorted(set(experts) - set(known)):
        raise OffPolicyError(f"the log knows no expert {', '.join(unknown)}; it has {', '.join(known)}")
    targets: dict[str, Target] = {"as it was decided": as_decided}
    for weight in weights:
        targets[f"active weight {weight:g}"] = weighing(weight)
    for folder in folders:
        composition = load_composition(folder)
        precision = "float32" if "float32" in composition.encoder_revision else "int8"
        encoder = load_encoder(precision=precision, threads=1)  # type: ignore[arg-type]
        targets[f"composition {folder.name}"] = composition_target(composition, encoder)
    for name in experts or known:
        targets[f"always {name}"] = always(name)
    return targets


def _table(report: "OffPolicyReport") -> "Table":
    from rich.table import Table

    naive = report.naive
    title = (
        f"{report.usable} of {report.logged} decisions were explored and rated; their plain mean is "
        f"{naive.value:.4f} ({naive.low:.4f} to {naive.high:.4f})"
    )
    table = Table("policy", "doubly robust", "SNIPS", "IPS", title=title, title_justify="left")
    for name in ("model", "worth", "agrees", "active B", "$ a request"):
        table.add_column(name, justify="right")
    for each in report.policies:
        table.add_row(
            plain(each.policy) + (" [yellow]![/]" if each.warnings else ""),
            _shown(each.doubly_robust),
            _shown(each.snips),
            _shown(each.ips),
            f"{each.model:.4f}",
            f"{each.effective:.0f} of {each.n}",
            f"{each.agrees:.0%}",
            f"{each.active_params_b:.2f}",
            "–" if each.cost is None else f"{each.cost:.3g}",
        )
    return table


def _shown(estimated: "Estimated") -> str:
    return f"{estimated.value:.4f} ({estimated.low:.4f} to {estimated.high:.4f})"
