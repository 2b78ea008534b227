"""`coterie replay`, on `eval.composition_replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from base.json_documents import DocumentError, write_json
from base.terminal import console, fail
from eval.cli.eval_options import FiguresFile

if TYPE_CHECKING:
    from rich.table import Table

    from eval.composition_replay import Replay
    from eval.paired_comparison import Comparison


def replay(
    composition: Annotated[Path, typer.Argument(help="The folder of the composition.", metavar="DIR")],
    table: Annotated[Path, typer.Argument(help="The folder of a held-out outcome table.")],
    json_file: FiguresFile = None,
    items: Annotated[
        Path | None, typer.Option(help="Write the choice and scores of every prompt here.", metavar="PARQUET")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw quality against active parameters here.", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="One of the composition's experts to compare with, besides the baselines.",
            metavar="EXPERT",
        ),
    ] = None,
    by_category: Annotated[
        bool,
        typer.Option("--by-category", help="Also compare by category, with that expert or the best single."),
    ] = False,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Include prompts that were fitted on; the report says so."),
    ] = False,
) -> None:
    """Score a composition on a held-out outcome table, with all baselines.

    No expert is asked: the table contains the scores. Prompts that the composition was fitted on are
    excluded and counted. Near-duplicates of them are kept and the score without them is also printed;
    if they are more than 5 %, they are excluded too. In a table that is not scored for every expert, prompts
    that go to an expert without a score are excluded and counted, and each baseline is compared on the
    prompts where it has a score. A composition that was saved without its evidence is compared with single
    experts, random choice and the oracle alone.

    Examples:

      coterie replay var/compositions/mine outcomes/held-out --json replay.json
      coterie replay var/compositions/mine outcomes/held-out --against large --by-category
    """
    from rich.progress import Progress

    from eval.composition_replay import CompositionReplayError
    from eval.composition_replay import replay as run
    from eval.decontamination import DecontaminationError, fitted_on
    from routers.composition import CompositionError, load_composition
    from routers.embeddings import vectors_folder
    from routers.encoder import EncoderMissing, load_encoder
    from routers.evidence import EvidenceError, NoEvidence, load_evidence
    from routers.outcome_table import OutcomeError, read_outcomes

    try:
        fitted = load_composition(composition)
        try:
            evidence = load_evidence(composition)
        except NoEvidence:
            evidence = None
        with Progress(console=console(), transient=True) as progress:
            task = progress.add_task("reading prompts", total=None)
            found = run(
                fitted,
                evidence,
                read_outcomes(table),
                load_encoder(
                    precision="float32" if "float32" in fitted.encoder_revision else "int8", threads=2
                ),
                fitted=fitted_on(composition, allow_unknown=allow_seen),
                allow_seen=allow_seen,
                against=against,
                cache=vectors_folder(),
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    except (
        CompositionError,
        EncoderMissing,
        EvidenceError,
        DecontaminationError,
        OutcomeError,
        CompositionReplayError,
    ) as error:
        fail(error)
    _report(found, by_category, allow_seen)
    if json_file:
        try:
            write_json(found.document(), json_file)
        except (DocumentError, OSError) as error:
            fail(error)
    if items:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({k: list(v) for k, v in found.items.items()}), items)
    if picture:
        from eval.drawing import draw_curve

        try:
            draw_curve(found, picture)
        except CompositionReplayError as error:
            fail(error)


def _report(found: "Replay", by_category: bool, allow_seen: bool) -> None:
    printer = console(stderr=False)
    printer.print(_table(found))
    if by_category:
        printer.print(_category_table(found))
    left = found.left_out_seen + found.left_out_near + found.left_out_unscored
    if left:
        printer.print(
            f"{left} prompts left out: {found.left_out_seen} were fitted on, {found.left_out_near} are near "
            f"copies of such, {found.left_out_unscored} go to an expert without a score there",
            highlight=False,
        )
    if found.unscored:
        missing = ", ".join(f"{name} {count}" for name, count in found.unscored.items())
        printer.print(f"without a score: {missing}", highlight=False)
    if found.alike and not allow_seen and found.score_without_alike is not None:
        printer.print(
            f"{found.alike} prompts resemble one that was fitted on almost word for word; without them the "
            f"score is {found.score_without_alike:.4f}",
            highlight=False,
        )
    if allow_seen:
        printer.print(f"[yellow]{found.screening.sentence()}[/]", highlight=False)


def _table(found: "Replay") -> "Table":
    from rich.table import Table

    title = f"{found.n} prompts; {found.active_params_b:.2f} B active on average"
    if found.category_accuracy is not None:
        title += f"; category accuracy {found.category_accuracy:.3f}, ECE {found.ece:.3f}"
    table = Table("", *COLUMNS, title=title, title_justify="left")
    table.add_row("[bold]composition[/]", f"{found.n}", f"{found.score:.4f}", f"± {found.error:.4f} (s.e.)")
    table.add_section()
    for name, each in found.baselines.items():
        table.add_row(name, *_cells(each))
    return table


COLUMNS = ("prompts", "score", "composition minus this", "95 % interval", "compute ratio")


def _cells(each: "Comparison") -> tuple[str, ...]:
    gap, ratio = each.difference, each.compute_ratio
    return (
        f"{each.n}",
        f"{each.theirs:.4f}",
        f"{gap.difference:+.4f}",
        f"{gap.low:+.4f} to {gap.high:+.4f}",
        "" if ratio is None else f"{ratio:.2f}",
    )


def _category_table(found: "Replay") -> "Table":
    from rich.table import Table

    table = Table(
        *("category", "prompts", f"{found.against} alone", *COLUMNS[2:], "goes to"),
        title="by category",
        title_justify="left",
    )
    for each in found.by_category:
        cells = ("0", "", "", "", "") if each.comparison is None else _cells(each.comparison)
        table.add_row(each.category, *cells, ", ".join(f"{name} {count}" for name, count in each.experts))
    return table
