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
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Include prompts that were fitted on; the report says so."),
    ] = False,
) -> None:
    """Score a composition on a held-out outcome table, with all baselines.

    No expert is asked: the table contains all scores. Prompts that the composition was fitted on are
    excluded and counted. Near-duplicates of them are kept and the score without them is also printed;
    if they are more than 5 %, they are excluded too.

    Example:

      coterie replay var/compositions/mine outcomes/held-out --json replay.json
    """
    from rich.progress import Progress

    from eval.composition_replay import CompositionReplayError
    from eval.composition_replay import replay as run
    from eval.decontamination import DecontaminationError, fitted_on
    from routers.composition import CompositionError, load_composition
    from routers.embeddings import vectors_folder
    from routers.encoder import EncoderMissing, load_encoder
    from routers.evidence import EvidenceError, load_evidence
    from routers.outcome_table import OutcomeError, read_outcomes

    try:
        fitted = load_composition(composition)
        with Progress(console=console(), transient=True) as progress:
            task = progress.add_task("reading prompts", total=None)
            found = run(
                fitted,
                load_evidence(composition),
                read_outcomes(table),
                load_encoder(
                    precision="float32" if "float32" in fitted.encoder_revision else "int8", threads=2
                ),
                fitted=fitted_on(composition),
                allow_seen=allow_seen,
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
    printer = console(stderr=False)
    printer.print(_table(found))
    left = found.left_out_seen + found.left_out_near + found.left_out_unscored
    if left:
        printer.print(
            f"{left} prompts left out: {found.left_out_seen} were fitted on, {found.left_out_near} are near "
            f"copies of such, {found.left_out_unscored} are not scored for every expert",
            highlight=False,
        )
    if found.alike and not allow_seen and found.score_without_alike is not None:
        printer.print(
            f"{found.alike} prompts resemble one that was fitted on almost word for word; without them the "
            f"score is {found.score_without_alike:.4f}",
            highlight=False,
        )
    if allow_seen:
        printer.print(f"[yellow]{found.screening.sentence()}[/]", highlight=False)
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

        draw_curve(found, picture)


def _table(found: "Replay") -> "Table":
    from rich.table import Table

    title = f"{found.n} prompts; {found.active_params_b:.2f} B active on average"
    if found.category_accuracy is not None:
        title += f"; category accuracy {found.category_accuracy:.3f}, ECE {found.ece:.3f}"
    table = Table("", "score", "composition minus this", "95 % interval", title=title, title_justify="left")
    table.add_row("[bold]composition[/]", f"{found.score:.4f}", f"± {found.error:.4f} (standard error)", "")
    table.add_section()
    for name, score in found.baselines.items():
        gap = found.differences[name]
        table.add_row(name, f"{score:.4f}", f"{gap.difference:+.4f}", f"{gap.low:+.4f} to {gap.high:+.4f}")
    return table
