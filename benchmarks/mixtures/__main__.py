"""Mixtures of prompts against zero-shot, one instruction and few-shot, on a real model:
`python -m benchmarks.mixtures --expert smollm2 --seeds 3 --out DIR`.

Starts the expert's vLLM server unless one answers. Every answer is kept in DIR, every finished method of a
task and seed is a file there: the same command goes on where it was stopped. Writes DIR/<expert>.json,
DIR/<expert>.md and DIR/<expert>.png from what is finished; `--page` puts table and picture into a page.
"""

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.mixtures.settings import PRESETS, Sizes
from benchmarks.mixtures.task import Task, TaskError
from benchmarks.mixtures.task_list import TASKS

if TYPE_CHECKING:
    from benchmarks.mixtures.mixture_run import Job

PROJECT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and report; 0 when everything asked for is finished, 130 when it was interrupted."""
    from base.reply import AskError
    from benchmarks.measured_pages import PageError
    from experts.answer_store import StoreError
    from experts.local.errors import LocalError
    from experts.registry import RegistryError, UnknownExpert
    from prompts.mixture.demos import DemoError
    from prompts.mixture.mixture import MixtureError
    from routers.encoder import EncoderMissing

    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        tasks = _tasks(given)
        code = 0 if given.report_only else _run(given, tasks)
        _report(given, tasks, parser)
    except (
        TaskError, PageError, AskError, StoreError, LocalError, RegistryError, UnknownExpert, DemoError,
        MixtureError, EncoderMissing,
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    sizes = Sizes()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixtures", description=__doc__)
    parser.add_argument("--expert", default="smollm2", help="an expert of the registry")
    parser.add_argument("--registry", type=Path, default=PROJECT / "experts" / "cpu.yaml")
    parser.add_argument("--endpoint", metavar="URL", help="ask it here, ending in /v1, and start nothing")
    parser.add_argument("--threads", type=int, help="of a vLLM server that this command starts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", help=f"some of {', '.join(TASKS)}, and with --data mmlu, domains")
    parser.add_argument("--data", type=Path, metavar="DIR", help="public data sets, for two more tasks")
    parser.add_argument("--preset", choices=list(PRESETS), default=sizes.preset, help="of the builder")
    parser.add_argument("--train", type=int, default=sizes.train, help="demos")
    parser.add_argument("--test", type=int, default=sizes.test, help="test items")
    parser.add_argument("--concurrency", type=int, default=sizes.concurrency)
    parser.add_argument("--jobs", type=int, default=1, help="tasks and seeds at the same time")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="answers and results")
    parser.add_argument("--page", type=Path, help="a page with markers for the evidence of this expert")
    parser.add_argument("--report-only", action="store_true", help="ask nothing, report what is finished")
    return parser


def _tasks(given: argparse.Namespace) -> list[Task]:
    from benchmarks.mixtures.public_tasks import shared_tasks

    known = TASKS | (shared_tasks(given.data) if given.data else {})
    names = given.tasks.split(",") if given.tasks else list(known)
    if unknown := [name for name in names if name not in known]:
        raise TaskError(f"no task is called {unknown[0]!r}: choose from {', '.join(known)}")
    return [known[name] for name in names]


def _sizes(given: argparse.Namespace) -> Sizes:
    return Sizes(given.train, given.test, concurrency=given.concurrency, preset=given.preset)


def _run(given: argparse.Namespace, tasks: Sequence[Task]) -> int:
    """Everything that is not finished yet."""
    from benchmarks.mixtures.mixture_run import jobs

    asked = jobs(tasks, given.seeds)
    try:
        asyncio.run(_ask_all(given, asked))
    except KeyboardInterrupt:
        print(  # noqa: T201 - a command's own output
            "Stopped; what was answered is kept. The same command goes on from here.", file=sys.stderr
        )
        return 130
    return 0


async def _ask_all(given: argparse.Namespace, asked: Sequence["Job"]) -> None:
    from base.task_groups import together
    from benchmarks.mixtures.mixture_progress import shown
    from benchmarks.mixtures.mixture_run import Model, ModelLine, Results, run_job
    from benchmarks.mixtures.tested_model import PrefixCounts, identity, serving
    from experts.answer_store import AnswerStore
    from experts.asker import Asker
    from experts.expert_line import AskedExpert, ExpertAsk, ExpertLine
    from routers.encoder import load_encoder

    sizes, encoder = _sizes(given), load_encoder()
    folder: Path = given.out / given.expert
    starting = serving(
        given.registry,
        given.expert,
        endpoint=given.endpoint,
        threads=given.threads,
        concurrency=sizes.concurrency * given.jobs,
        logs=folder / "logs",
    )
    with AnswerStore(folder / "answers.sqlite") as store:
        asker = Asker(store, ExpertLine(), concurrency=sizes.concurrency * given.jobs)
        async with starting as expert, asker.open():
            known = identity(expert)
            source = AskedExpert(expert, json.loads(known), server="")

            def connect() -> ModelLine:
                counts = PrefixCounts(ExpertAsk(asker, source, formerly=known))
                return ModelLine(counts, counts.read)

            model, results = Model(known, expert.context_length, connect), Results(folder)
            slots = asyncio.Semaphore(given.jobs)
            with shown(len(asked)) as begin:

                async def one(job: "Job") -> None:
                    async with slots:
                        with begin(f"{job.task.name}, seed {job.seed}") as progress:
                            await run_job(job, sizes, model, encoder.encode, results, progress)

                await together(one(job) for job in asked)


def _report(given: argparse.Namespace, tasks: Sequence[Task], parser: argparse.ArgumentParser) -> None:
    from benchmarks.measured_pages import fill_page
    from benchmarks.mixtures.mixture_report import draw, markdown
    from benchmarks.mixtures.mixture_run import Results
    from benchmarks.mixtures.mixture_summary import summarise

    finished = list(Results(given.out / given.expert).all(_sizes(given)))
    summary = summarise(finished, [task.name for task in tasks])
    if summary is None:
        raise TaskError(f"{given.out / given.expert}: no task is finished with all methods")
    text = markdown(summary, tasks, command(given, parser))
    files = {".json": json.dumps(asdict(summary), indent=1) + "\n", ".md": text + "\n"}
    for ending, content in files.items():
        (given.out / f"{given.expert}{ending}").write_text(content, encoding="utf-8")
    title = f"Mixtures of prompts over {given.expert}: {len(summary.tasks)} tasks, {summary.runs} runs"
    draw(summary, given.out / f"{given.expert}.png", title)
    if given.page:
        picture = given.page.parent / "images" / f"mixture-{given.expert}.png"
        draw(summary, picture, title)
        shown_there = f"![Accuracy by task and method, gains and prices](images/{picture.name})"
        begin, end = (f"<!-- {mark}:{given.expert} -->" for mark in ("evidence", "end"))
        fill_page(given.page, begin, end, f"\n{text}\n\n{shown_there}\n")
    print(text)  # noqa: T201 - a command's own output


def command(given: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """The command that makes these results again, without what names this machine's folders."""
    words = ["python -m benchmarks.mixtures", "--expert", given.expert]
    for name in ("seeds", "tasks", "preset", "train", "test"):
        value = getattr(given, name)
        if value != parser.get_default(name):
            words += [f"--{name}", shlex.quote(str(value))]
    return " ".join([*words, *(["--data", "DATA"] if given.data else []), "--out", "DIR"])


if __name__ == "__main__":
    sys.exit(main())
