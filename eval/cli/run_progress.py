"""Executes a run for `eval run`, `judge` and `resume`: progress bar, error messages, printed results."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from base.progress import ProgressBars
from base.terminal import console, fail, plain, say
from base.validation_messages import problems_of

if TYPE_CHECKING:
    from eval.benchmark_registry import RunRequest
    from eval.engine.items import RunItem
    from eval.engine.run import Finished


def request_from(parameters: Mapping[str, Any]) -> "RunRequest":
    """A request from a command's parameters, which have the names of its fields."""
    from eval.benchmark_registry import RunRequest

    given = {name: value for name, value in parameters.items() if name in RunRequest.model_fields}
    seed: int = given["seed"]
    return request_of(
        **given
        | {
            "category": tuple(given["category"] or ()),
            "same": pairs(given["same"] or [], "--same"),
            "seed": None if seed < 0 else seed,
        }
    )


def request_of(**options: Any) -> "RunRequest":
    """A request from options; exits with a message if they are invalid."""
    from pydantic import ValidationError

    from eval.benchmark_registry import RunRequest

    try:
        return RunRequest(**options)
    except ValidationError as error:
        found = (each.partition(": ") for each in problems_of(error, "options"))
        fail("; ".join(f"--{name.replace('_', '-')}: {what}" for name, _, what in found))


def perform(
    request: "RunRequest",
    *,
    api_key: str | None,
    keys: Sequence[str],
    runs: Path,
    folder: Path | None = None,
) -> None:
    """Run `request` (resume it in `folder` if given); writes results and report, prints the table.

    Exits with 1 on an error or an incomplete run, with 130 on Ctrl-C.
    """
    from eval.benchmark_registry import PROBLEMS, prepare
    from eval.benchmark_registry import Keys as KeyRing
    from eval.engine.manifest import new_run_id

    try:
        prepared = prepare(request, KeyRing(api_key, read_keys(keys)))
        folder = folder or runs / new_run_id(prepared.benchmark.name)
        finished = _run(request, prepared, folder)
        from eval.reports.results import results_of, summary
        from eval.reports.write import write_report

        results = results_of(finished.run, verdicts=request.verdicts, same=request.same)
        report = write_report(finished.run, results)
    except PROBLEMS as error:
        fail(error)
    except KeyboardInterrupt:
        name = folder.name if folder else "last"
        say(f"\nStopped. What was answered is kept; go on with: coterie eval resume {name}")
        raise typer.Exit(130) from None
    out = console(stderr=False)
    out.print(summary(results))
    for note in results["notes"]:
        out.print(f"note: {plain(note)}", highlight=False)
    out.print(f"{plain(str(report))}", highlight=False, soft_wrap=True)
    if not finished.complete:
        say(
            "[yellow]Not every question was answered and marked.[/] "
            f"Go on with: coterie eval resume {plain(folder.name)}"
        )
        raise typer.Exit(1)


def _run(request: "RunRequest", prepared: Any, folder: Path) -> "Finished":
    from eval.benchmark_registry import options_of
    from eval.engine.run import RunOptions, run_benchmark
    from experts.answer_store import default_store

    options = RunOptions(
        concurrency=request.concurrency,
        seed=request.seed,
        cache=request.cache or default_store(),
        command=tuple(sys.argv[1:]),
        options=options_of(request),
    )
    with ProgressBars() as progress:
        total = len(prepared.benchmark.questions)
        rows = {each.name: progress.add(each.name, total) for each in prepared.contestants}
        seen = _there(folder)
        failed: set[tuple[str, str]] = set()
        for name, _ in seen:
            if name in rows:
                progress.advance(rows[name])

        def done(item: "RunItem") -> None:
            place = (item.contestant, item.question)
            new = place not in seen
            seen.add(place)
            (failed.add if item.error else failed.discard)(place)
            count = sum(name == item.contestant for name, _ in failed)
            progress.advance(rows[item.contestant], int(new), note=f"{count} failed" if count else "")

        return run_benchmark(
            prepared.benchmark,
            prepared.contestants,
            folder,
            options=options,
            progress=done,
        )


def _there(folder: Path) -> set[tuple[str, str]]:
    """The finished (contestant, question) pairs of a resumed run."""
    from eval.engine.items import read_items
    from eval.engine.manifest import ITEMS

    path = folder / ITEMS
    return {(item.contestant, item.question) for item in read_items(path)} if path.is_file() else set()


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Parse the `NAME=VALUE` values of a repeatable option."""
    found = {}
    for each in given:
        name, _, value = each.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def read_keys(given: Sequence[str]) -> dict[str, str]:
    """The bearer tokens of `--key NAME=VARIABLE`, by name."""
    import os

    found = {}
    for name, variable in pairs(given, "--key").items():
        found[name] = os.environ.get(variable, "")
        if not found[name]:
            raise typer.BadParameter(f"the variable {variable} is not set", param_hint="--key")
    return found
