"""Running a sweep, resuming from stored items, and writing its report."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.files import write_text
from base.json_documents import write_json
from client import RetryPolicy
from eval.decontamination import notice
from eval.engine.manifest import code_version
from eval.sweeps.fold_baselines import FoldBaseline
from eval.sweeps.grid import settings_of
from eval.sweeps.sweep_file import LiveSweep, ReplaySweep, Sweep, SweepError
from eval.sweeps.sweep_store import ItemRow, SweepStore
from eval.sweeps.sweep_summary import SweepReport, rows_of
from experts.answer_store import default_store

OUT = Path("var/eval/sweeps")
Progress = Callable[[int, int], None]
"""Called with (items done, total items), stored ones included."""


def run_sweep(
    sweep: Sweep,
    store: SweepStore,
    *,
    fresh: bool = False,
    api_key: str | None = None,
    cache: Path | None = None,
    retries: RetryPolicy | None = None,
    progress: Progress = lambda done, total: None,
) -> SweepReport:
    """Run the unfinished items of `sweep` and report on all. An interrupted run resumes if file, data and
    compositions are unchanged; `fresh` begins a new one. Raises SweepError."""
    if isinstance(sweep, ReplaySweep):
        return _replay(sweep, store, fresh, progress)
    return _live(sweep, store, fresh, api_key, cache or default_store(), retries, progress)


def _replay(sweep: ReplaySweep, store: SweepStore, fresh: bool, progress: Progress) -> SweepReport:
    from eval.sweeps.replay_sweep import ReplayWork

    work = ReplayWork(sweep)
    run_id, manifest, done = _begin(sweep, work.digests(), store, fresh)
    counted = len(done)
    progress(counted, work.items)
    for items in work.run(work.units(done)):
        new = [item for item in items if (item.configuration, item.uid) not in done]
        for item in new:
            item.run_id = run_id
        store.add(new)
        counted += len(new)
        progress(counted, work.items)
    notes = [] if not work.unscored else [f"{work.unscored} prompts are not scored for every expert."]
    guard = work.guard()
    return _finish(
        store,
        run_id,
        manifest,
        settings={point.name: settings_of(point) for point in work.points},
        items=store.items(run_id),
        baselines=work.baselines(),
        uids=work.table.uids,
        guard=guard,
        notes=[*notes, *_decontamination_notes(guard)],
        missing=0,
        seed=sweep.seed,
    )


def _live(
    sweep: LiveSweep,
    store: SweepStore,
    fresh: bool,
    api_key: str | None,
    cache: Path,
    retries: RetryPolicy | None,
    progress: Progress,
) -> SweepReport:
    from eval.sweeps.live_sweep import BASELINE, LiveWork

    work = LiveWork(sweep, api_key=api_key, cache=cache, retries=retries)
    run_id, manifest, done = _begin(sweep, work.digests(), store, fresh)
    counted = len(done)
    progress(counted, work.items)

    def keep(item: ItemRow) -> None:
        nonlocal counted
        item.run_id = run_id
        store.add([item])
        counted += 1
        progress(counted, work.items)

    missing = asyncio.run(work.run(done, keep))
    items = store.items(run_id)
    baselines, uids = work.baselines(items)
    guard = work.screening.document()
    notes = list(_decontamination_notes(guard))
    if not baselines:
        notes.append("Baselines need every expert's answer to every question: baselines: true.")
    elif len(uids) < len(work.questions):
        notes.append(f"Baselines are over the {len(uids)} questions that every expert answered.")
    if missing:
        notes.append(f"{missing} answers could not be had; the same command asks for them again.")
    return _finish(
        store,
        run_id,
        manifest,
        settings={point.name: settings_of(point) for point in work.points},
        items=[item for item in items if not item.configuration.startswith(BASELINE)],
        baselines=baselines,
        uids=uids,
        guard=guard,
        notes=notes,
        missing=missing,
        seed=sweep.seed,
    )


def _begin(
    sweep: Sweep, digests: Mapping[str, str], store: SweepStore, fresh: bool
) -> tuple[str, dict[str, Any], set[tuple[str, str]]]:
    """The run's id, its manifest, and its finished items."""
    config = sweep.model_dump(mode="json")
    # Parallelism does not change results.
    counted = {key: value for key, value in config.items() if key not in {"workers", "concurrency"}}
    document = json.dumps([counted, dict(digests)], sort_keys=True)
    base = f"{sweep.name}-{hashlib.sha256(document.encode()).hexdigest()[:10]}"
    run_id = store.numbered(base, fresh=fresh)
    manifest = {"code": code_version(), "digests": dict(digests), "seed": sweep.seed}
    store.begin(run_id, name=sweep.name, kind=sweep.kind, config=config, manifest=manifest)
    return run_id, manifest, store.done(run_id)


def _finish(
    store: SweepStore,
    run_id: str,
    manifest: Mapping[str, Any],
    *,
    settings: Mapping[str, Mapping[str, Any]],
    items: Sequence[ItemRow],
    baselines: Mapping[str, FoldBaseline],
    uids: Sequence[str],
    guard: Mapping[str, Any],
    notes: Sequence[str],
    missing: int,
    seed: int,
) -> SweepReport:
    rows = rows_of(items, settings, baselines, uids, seed=seed)
    kind = store.run(run_id)
    report = SweepReport(
        run=run_id,
        kind="" if kind is None else kind.kind,
        rows=rows,
        guard=guard,
        notes=tuple(notes),
        complete=not missing,
        manifest=manifest,
    )
    if report.complete:
        store.finish(run_id, report.document())
    return report


def _decontamination_notes(guard: Mapping[str, Any]) -> list[str]:
    found = notice(guard, "allow_seen")
    return [f"{found}."] if found else []


def write_report(report: SweepReport, folder: Path) -> None:
    """Write report.json, table.csv and pareto.png to `folder`."""
    from eval.sweeps.pareto_picture import draw_pareto

    folder.mkdir(parents=True, exist_ok=True)
    write_json(report.document(), folder / "report.json")
    write_text(report.csv(), folder / "table.csv")
    draw_pareto(report, folder / "pareto.png")


def write_items(store: SweepStore, run_id: str, path: Path) -> int:
    """Write every item of a run as CSV; returns their number. Raises SweepError for an unknown run."""
    import csv
    import io

    if store.run(run_id) is None:
        raise SweepError(f"there is no run {run_id!r}; `coterie eval sweep --list` shows those there are")
    columns = [column.key for column in ItemRow.__mapper__.column_attrs if column.key != "run_id"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    items = store.items(run_id)
    for item in items:
        values = [getattr(item, column) for column in columns]
        writer.writerow(["" if value is None else value for value in values])
    write_text(out.getvalue(), path)
    return len(items)
