"""`coterie eval personas`."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from base.files import write_text
from base.progress import ProgressBars
from base.terminal import console, fail
from eval.cli.eval_options import API, AnyServer, ApiKey, Category, NetworkCode, SuitePath

if TYPE_CHECKING:
    from eval.personas import Personas
    from prompts.identities import Identities


EARLIER = Path("var/personas/answers.jsonl")
"""Location of answers before commands shared one store."""


def personas(
    identities: Annotated[
        Path, typer.Argument(help="The file of identities, as `coterie prompts identity` writes it.")
    ],
    per: Annotated[
        Literal["category", "request"],
        typer.Option(help="The identities of the file, or one that the expert writes for each prompt."),
    ] = "category",
    api: AnyServer = API,
    suite: SuitePath = None,
    category: Category = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the measured file here.", show_default="into the same file")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the report (Markdown) here.", show_default="printed alone")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="The file of answers, which all commands share; JSONL of earlier versions is read, and "
            "answers go to the .sqlite file beside it.",
            show_default="var/answers.sqlite",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")
    ] = 0.95,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests in flight.")] = 4,
    allow_network_code: NetworkCode = False,
    api_key: ApiKey = None,
) -> None:
    """Measure expert identities: answers with and without them, on checkable prompts.

    Writes the categories in which an identity improves the score into the file; serving uses it only there.
    Reports where identities lower the score. An interrupted command resumes when run again.

    Examples:

      coterie eval personas var/identities/smollm2.yaml

      coterie eval personas var/identities/smollm2.yaml --per request --report var/personas.md
    """
    from rich.markdown import Markdown

    from client import ApiError
    from eval.engine.api_line import ApiLine
    from eval.personas import measure
    from eval.personas import report as report_of
    from eval.scoring import find_experts
    from eval.suite import OWN, SuiteError, load_suite, only
    from experts.answer_store import AnswerStore, StoreError, default_store, read_exported
    from experts.asker import Asker
    from prompts.identities import IdentityError, load_identities, save_identities

    said = console()
    kept_in = default_store() if answers is None else answers
    earlier = EARLIER if answers is None else answers
    if kept_in.suffix == ".jsonl":
        kept_in = kept_in.with_suffix(".sqlite")
    started = time.perf_counter()
    try:
        found = load_identities(identities)
        chosen = only(load_suite(suite or OWN), category or [])
        _, (expert,) = asyncio.run(find_experts(api, api_key, [found.expert]))
        exported = read_exported(earlier) if earlier.suffix == ".jsonl" else {}
        with AnswerStore(kept_in) as store, ProgressBars() as progress:
            measured = asyncio.run(
                measure(
                    Asker(store, ApiLine(), concurrency=concurrency, exported=exported),
                    expert,
                    found,
                    chosen,
                    per=per,
                    confidence=confidence,
                    allow_network_code=allow_network_code,
                    step=partial(_step, progress),
                )
            )
        text = report_of(measured, found)
        written = _learned(identities, found, measured)
        save_identities(written, out or identities)
        if report is not None:
            write_text(text, report)
    except (IdentityError, SuiteError, StoreError, ApiError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        said.print(f"\nStopped. Answers so far are kept in {kept_in}; the same command goes on.")
        raise typer.Exit(130) from None
    screen = console(stderr=False)
    if screen.is_terminal:
        screen.print(Markdown(text))
    else:
        typer.echo(text)
    calls = sum(each.calls for each in measured.costs)
    said.print(
        f"asked now: {measured.asked} of {calls} answers, in {time.perf_counter() - started:.0f} s",
        highlight=False,
    )
    gone = found.kept(per) - written.kept(per) - {each.category for each in measured.results}
    if gone:
        why = "their verdicts were of other prompts or another confidence"
        said.print(f"no longer kept: {', '.join(sorted(gone))} ({why})", highlight=False, soft_wrap=True)
    serves = ", ".join(sorted(written.kept(per))) or "no category"
    said.print(f"measured: {out or identities} (serves: {serves})", highlight=False, soft_wrap=True)


def _learned(path: Path, asked: "Identities", measured: "Personas") -> "Identities":
    """The current file with the results added. Raises IdentityError if its texts have changed."""
    from prompts.identities import IdentityError, load_identities

    now = load_identities(path)
    if now.subject(measured.per) != asked.subject(measured.per):
        raise IdentityError(
            f"{path}: was changed while it was measured, so nothing was written: run the same command again, "
            "which asks only for what is new"
        )
    return now.with_measurement(measured.measurement(now))


def _step(progress: ProgressBars, what: str, prompts: int) -> Callable[[bool], None]:
    bar = progress.add(what, prompts)
    failed = 0

    def done(answered: bool) -> None:
        nonlocal failed
        failed += not answered
        progress.advance(bar, note=f"{failed} failed" if failed else None)

    return done
