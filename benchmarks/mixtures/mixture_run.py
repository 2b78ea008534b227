"""Runs every method on every task and seed; each finished one is a file, so a run that stopped goes on."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base.files import write_text
from benchmarks.mixtures.methods import METHODS, MIXTURE, MethodSetting, PreparedMethod, regions_of
from benchmarks.mixtures.settings import Sizes
from benchmarks.mixtures.task import Split, Task, draw_split
from prompts.mixture.answer_metrics import METRICS
from prompts.mixture.build import Encode
from prompts.mixture.call_budget import Ask, Asking, Call, PrefixCache, Progress
from prompts.mixture.demos import Demo


@dataclass(frozen=True, slots=True)
class Job:
    """One task with one seed."""

    task: Task
    seed: int


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One job's line to the model: how it asks, and what its own requests found in the prefix cache."""

    ask: Ask
    prefix_cache: Callable[[], PrefixCache | None]


@dataclass(frozen=True, slots=True)
class Model:
    """What is asked. `identity` is all that its answers depend on."""

    identity: str
    context_tokens: int | None
    connect: Callable[[], ModelLine]


def jobs(tasks: Sequence[Task], seeds: int) -> list[Job]:
    """Seed by seed, so that what is finished first covers all tasks."""
    return [Job(task, seed) for seed in range(seeds) for task in tasks]


class Results:
    """The files of one model's results in `folder`: `<task>/seed<k>/<method>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: Job, method: str) -> Path:
        return self.folder / job.task.name / f"seed{job.seed}" / f"{method.replace(' ', '-')}.json"

    def read(self, job: Job, method: str, setup: dict[str, Any]) -> dict[str, Any] | None:
        """A finished result of this very setup; None without one."""
        try:
            found = json.loads(self.path(job, method).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("setup") == setup else None

    def write(self, job: Job, method: str, result: dict[str, Any]) -> None:
        """Whole or not at all."""
        write_text(json.dumps(result, indent=1) + "\n", self.path(job, method))

    def all(self, sizes: Sizes) -> Iterator[dict[str, Any]]:
        """Every finished result of these sizes."""
        wanted = json.loads(json.dumps(sizes.record()))
        for path in sorted(self.folder.glob("*/seed*/*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            if wanted.items() <= found["setup"].items():
                yield found


def setup_of(job: Job, split: Split, sizes: Sizes, model: Model) -> dict[str, Any]:
    """All that a result depends on; results of another setup are not taken for this one's."""
    document = json.dumps([[asdict(example) for example in part] for part in (split.train, split.test)])
    setup: dict[str, Any] = {
        "task": job.task.name,
        "seed": job.seed,
        "metric": job.task.metric,
        "max_tokens": job.task.max_tokens,
        "examples": hashlib.sha256(document.encode()).hexdigest()[:16],
        "model": model.identity,
        **sizes.record(),
    }
    as_read: dict[str, Any] = json.loads(json.dumps(setup))
    return as_read


async def run_job(
    job: Job, sizes: Sizes, model: Model, encode: Encode, results: Results, progress: Progress
) -> int:
    """Every method of one job that is not finished; returns how many were. Raises what the model raises."""
    split = draw_split(job.task, job.seed, train=sizes.train, test=sizes.test)
    setup = setup_of(job, split, sizes, model)
    missing = [name for name in METHODS if results.read(job, name, setup) is None]
    if not missing:
        return 0
    demos = tuple(Demo(example.input, example.output) for example in split.train)
    embeddings = await asyncio.to_thread(encode, [example.input for example in split.train])
    asked = await asyncio.to_thread(encode, [example.input for example in split.test])
    config = sizes.config(
        seed=job.seed,
        metric=job.task.metric,
        max_tokens=job.task.max_tokens,
        context_tokens=model.context_tokens,
    )
    line = model.connect()
    setting = MethodSetting(demos, embeddings, config, sizes.shots, line.ask, encode, progress)
    if MIXTURE not in missing and (done := results.read(job, MIXTURE, setup)) is not None:
        setting.learned[MIXTURE] = done["bill"]["calls"] + done["bill"]["cached"]
    for name in missing:
        prepared = await METHODS[name](setting)
        result = await _test(prepared, split, asked, setting, line, progress, name)
        facts = {"bill": dict(prepared.bill), "facts": dict(prepared.facts)}
        results.write(job, name, {"setup": setup, "method": name, **facts, **result})
    return len(missing)


async def _test(
    prepared: PreparedMethod,
    split: Split,
    embeddings: np.ndarray[Any, Any],
    setting: MethodSetting,
    line: ModelLine,
    progress: Progress,
    name: str,
) -> dict[str, Any]:
    """Ask the test items in their order, as requests come."""
    metric = METRICS[setting.config.metric]
    calls = [
        Call(
            tuple(prepared.baseline.messages_for(example.input, np.asarray(row, dtype=np.float32))),
            setting.config.answer_tokens or 1,
            0.0,
            setting.config.seed,
        )
        for example, row in zip(split.test, embeddings, strict=True)
    ]
    before, started = line.prefix_cache(), time.monotonic()
    asking = Asking(line.ask, concurrency=setting.config.concurrency, max_calls=len(calls), progress=progress)
    answers = await asking.all(f"testing {name}", calls)
    seconds, after = time.monotonic() - started, line.prefix_cache()
    told = [answer for answer in answers if answer is not None]
    live = sum(not answer.kept for answer in told)
    cache = after.since(before) if after is not None and before is not None else None
    return {
        "right": [
            0.0 if answer is None else metric(answer.text, example.output)
            for answer, example in zip(answers, split.test, strict=True)
        ],
        "kinds": [example.kind for example in split.test],
        "regions": regions_of(prepared, embeddings),
        "prompt_tokens": [answer.usage.prompt or 0 if answer else 0 for answer in answers],
        "completion_tokens": [answer.usage.completion or 0 if answer else 0 for answer in answers],
        "seconds": round(seconds, 2),
        "live": live,
        # Of answers from the disk the server knows nothing.
        "prefix_cache": asdict(cache) if cache is not None and live == len(answers) else None,
    }
