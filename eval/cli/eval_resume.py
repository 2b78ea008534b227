"""`coterie eval resume`. Thin: reads the manifest's request, runs it in the same folder."""

from typing import Annotated

import typer

from eval.cli.eval_options import RUNS, ApiKey, Keys, Runs
from eval.cli.run_progress import perform, request_of


def resume(
    run: Annotated[
        str, typer.Argument(help="A run's id, the beginning of one, its folder, or `last`.")
    ] = "last",
    api_key: ApiKey = None,
    key: Keys = None,
    runs: Runs = RUNS,
) -> None:
    """Go on with a run that was stopped, or ask again what failed.

    What was answered is not asked again. A run whose composition, experts or data are others by now is
    refused: start a new one.
    """
    from base.terminal import fail
    from eval.engine.manifest import RunError, find_run

    try:
        found = find_run(run, runs)
    except RunError as error:
        fail(error)
    if not found.manifest.options:
        fail(f"{found.folder} was not started by `coterie eval run`; go on with it where it was started")
    perform(
        request_of(**found.manifest.options), api_key=api_key, keys=key or [], runs=runs, folder=found.folder
    )
