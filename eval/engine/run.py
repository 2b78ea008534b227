"""Runs a benchmark against contestants. A run is a resumable folder: `manifest.json`, `items.jsonl`,
`verdicts.parquet`, `results.json` and Inspect's `logs/`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.json_documents import json_digest
from base.retries import RetryPolicy
from eval.engine.api_line import ApiLine
from eval.engine.benchmark import Benchmark
from eval.engine.contestants import Contestant, identify
from eval.engine.inspecting import Work, run_set
from eval.engine.items import ItemLog, RunItem, read_items, write_verdicts
from eval.engine.manifest import (
    ITEMS,
    LOGS,
    VERDICTS,
    Manifest,
    RunError,
    RunFolder,
    code_version,
    load_run,
    new_run_id,
    now,
    save_manifest,
)
from experts.answer_store import AnswerStore, default_store
from experts.asker import RETRIES, Asker

Progress = Callable[[RunItem], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`concurrency`: requests in flight per server; `seed`: of every sampled request, if not None; `cache`:
    the answer store shared by all commands."""

    concurrency: int = 8
    seed: int | None = 0
    cache: Path = field(default_factory=default_store)
    retries: RetryPolicy = RETRIES
    command: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    """The `RunRequest` as JSON, kept in the manifest for resuming."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run and its items. `complete`: nothing is left to retry; permanent errors are items with an
    `error`."""

    run: RunFolder
    items: tuple[RunItem, ...]
    complete: bool


def run_benchmark(
    benchmark: Benchmark,
    contestants: Sequence[Contestant],
    folder: Path,
    *,
    options: RunOptions | None = None,
    progress: Progress = lambda item: None,
) -> Finished:
    """Run `benchmark` against `contestants` and keep the run in `folder`.

    Blocking; starts its own event loop, so async callers use a thread. Not reentrant: Inspect's state is
    global. Stored answers are not requested again. After an interruption (KeyboardInterrupt is raised), the
    same call resumes the run. Contestants without `identity` are identified first.

    Raises:
        ContestantError: a server does not answer or does not have the model.
        RunError: the folder holds a different run, or there is nothing to run.
        StoreError: the answer store cannot be read or written.
    """
    options = options or RunOptions()
    if not benchmark.questions or not contestants:
        raise RunError("there is nothing to run: no question, or no contestant")
    known = asyncio.run(_identified(contestants))
    manifest = _manifest(benchmark, known, folder, options)
    save_manifest(manifest, folder)
    started = time.monotonic()
    with AnswerStore(options.cache) as store, ItemLog(folder / ITEMS) as log:
        asker = Asker(store, ApiLine(), concurrency=options.concurrency, retries=options.retries)

        def done(item: RunItem) -> None:
            log.add(item)
            progress(item)

        work = Work(benchmark, asker, done, seed=options.seed)
        try:
            complete = run_set(
                work,
                known,
                folder / LOGS,
                samples=2 * options.concurrency,
                metadata={"run": manifest.id, "data": dict(benchmark.digests), "code": code_version()},
            )
        finally:
            manifest.seconds = round(manifest.seconds + time.monotonic() - started, 2)
            for name, count in asker.asked.items():
                manifest.asked[name] = manifest.asked.get(name, 0) + count
            save_manifest(manifest, folder)
    if asker.store_error is not None:
        raise asker.store_error
    items = _ordered(read_items(folder / ITEMS), benchmark, known)
    write_verdicts(items, folder / VERDICTS)
    complete = complete and len(items) == len(known) * len(benchmark.questions)
    manifest.status = "complete" if complete else "incomplete"
    manifest.finished_at = now()
    save_manifest(manifest, folder)
    return Finished(RunFolder(folder, manifest), items, complete)


async def _identified(contestants: Sequence[Contestant]) -> tuple[Contestant, ...]:
    unknown = [each for each in contestants if not each.identity and each.replayed is None]
    found = {each.name: each for each in await identify(unknown)}
    return tuple(found.get(each.name, each) for each in contestants)


def _manifest(
    benchmark: Benchmark, contestants: Sequence[Contestant], folder: Path, options: RunOptions
) -> Manifest:
    """A new manifest, or the one in `folder` if it describes the same run."""
    fresh = Manifest(
        id=folder.name or new_run_id(benchmark.name),
        benchmark=benchmark.name,
        created_at=now(),
        command=options.command,
        options=options.options,
        code=code_version(),
        contestants=tuple(each.document() for each in contestants),
        protocol=dict(benchmark.document()),
        data=dict(benchmark.digests),
        seed=options.seed,
        questions=len(benchmark.questions),
        cache=str(options.cache),
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        return fresh
    before = load_run(folder).manifest
    for what in ("benchmark", "contestants", "protocol", "data", "seed", "questions"):
        old, new = getattr(before, what), getattr(fresh, what)
        if json_digest(old) != json_digest(new):
            raise RunError(
                f"{folder} holds a run with other {what}; start a new run, or restore what it was about "
                "(the composition, the experts, the data)"
            )
    before.status, before.finished_at = "running", None
    return before


def _ordered(
    items: Sequence[RunItem], benchmark: Benchmark, contestants: Sequence[Contestant]
) -> tuple[RunItem, ...]:
    """Sorted by contestant and question."""
    names = {each.name: place for place, each in enumerate(contestants)}
    questions = {each.id: place for place, each in enumerate(benchmark.questions)}
    kept = (each for each in items if each.contestant in names and each.question in questions)
    return tuple(sorted(kept, key=lambda each: (names[each.contestant], questions[each.question])))
