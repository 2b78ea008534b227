"""`coterie eval resume`: runs the request of a run's manifest in the same folder."""

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
    """Resume an interrupted run, or retry failed questions.

    Stored answers are not requested again. A run whose composition, experts or data have changed is
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
