"""What fitted strategies are worth on prompts that nothing was fitted on.

    python -m benchmarks.strategy_evidence TABLE [--target 16] [--page docs/explanation/strategies.md]

Splits an outcome table with answers at random, fits a composition and its strategies on the larger part as
`coterie fit --strategies --no-correction` does, and judges them on the smaller one as `coterie strategies
replay DIR TABLE` does. With `--page` the table is written between the page's markers.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.operations.composition_fit import FitSource, fit_from_files
from base.cache_folder import cache_folder
from benchmarks.measured_pages import PageError, fill_page
from eval.strategies.fitted_replay import FittedReplay, replay_fitted
from routers.composition import CompositionError
from routers.encoder import EncoderMissing, load_encoder
from routers.fitting import FitError, FitOptions
from routers.outcome_table import OutcomeError
from routers.strategy_fitting.category_choice import StrategyMap
from routers.strategy_fitting.recorded_answers import AnswersError
from routers.strategy_fitting.strategy_files import fit_strategies
from routers.strategy_fitting.strategy_fit import StrategyOptions

HELD_OUT = 0.3
BEGIN, END = "<!-- fitted table: begin -->", "<!-- fitted table: end -->"
FILES = ("prompts", "scores", "answers", "logprobs")


def split(table: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Two tables in `folder`, of the prompts to fit on and of those put aside. Raises OutcomeError."""
    from pyarrow import parquet

    try:
        uids = parquet.read_table(table / "scores.parquet", columns=["uid"])["uid"].to_pylist()
    except OSError as error:
        raise OutcomeError(f"{table / 'scores.parquet'}: {error}") from error
    drawn = np.random.default_rng(seed).permutation(len(uids))
    aside = {uids[row] for row in drawn[: round(HELD_OUT * len(uids))].tolist()}
    parts = folder / "fit", folder / "aside"
    for part, wanted in zip(parts, (False, True), strict=True):
        part.mkdir()
        (part / "experts.yaml").write_bytes((table / "experts.yaml").read_bytes())
        for name in FILES:
            if (path := table / f"{name}.parquet").exists():
                whole = parquet.read_table(path)
                rows = [(uid in aside) is wanted for uid in whole["uid"].to_pylist()]
                parquet.write_table(whole.filter(rows), part / path.name)
    return parts


def measure(table: Path, target: float, seed: int) -> tuple[StrategyMap | None, FittedReplay]:
    """Fit on one part with an average budget of `target` billion active parameters, judge on the other."""

    def say(what: str) -> None:
        sys.stderr.write(f"\r{what:<70}")

    cache, encoder = cache_folder(), load_encoder()
    with tempfile.TemporaryDirectory() as scratch:
        seen, new = split(table, Path(scratch), seed)
        folder = Path(scratch) / "composition"
        options = FitOptions(correction=False, seed=seed)
        fit_from_files(
            FitSource(seen, ()),
            folder,
            encoder,
            options,
            cache=cache,
            report=False,
            step=lambda what, done, total: say(f"{what}: {done} of {total}"),
        )
        vectors = cache / "embeddings"
        fitted = fit_strategies(
            folder, seen, encoder, StrategyOptions(), target=target, seed=seed, cache=vectors, step=say
        )
        return fitted.chosen, replay_fitted(folder, new, encoder, seed=seed, cache=vectors, step=say)


def markdown(chosen: StrategyMap | None, report: FittedReplay, target: float) -> str:
    """The tables of a page."""
    lines = [
        f"{report.n:,} prompts put aside. `composition`: in each category one expert or a strategy, within "
        f"{target:g} B on average.",
        "",
        "| baseline | score | active, B |",
        "|---|---|---|",
        *(
            f"| {name.replace('_', ' ')} | {score:.4f} | {active:.1f} |"
            for name, (score, active) in report.baselines.items()
        ),
        "",
        "| strategy | score | active, B | calls | minus `single`, 95 % | minus best single, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for each in report.policies:
        gains = " | ".join(
            f"{gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" for gain in each.gains.values()
        )
        lines.append(
            f"| {each.id} | {each.score:.4f} | {each.active_params_b:.1f} | {each.calls:.2f} | {gains} |"
        )
    if chosen is not None:
        by_strategy: dict[str, list[str]] = {}
        for category, gain in chosen.by_category.items():
            by_strategy.setdefault(gain.id, []).append(category)
        said = "; ".join(f"{name} in {', '.join(each)}" for name, each in sorted(by_strategy.items()))
        lines += ["", f"Chosen: {said or 'one expert everywhere'}."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategy_evidence", description=__doc__)
    parser.add_argument("table", type=Path, help="folder of an outcome table with answers.parquet")
    parser.add_argument("--target", type=float, default=16.0, help="average budget, B (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="write the tables into this page")
    given = parser.parse_args(arguments)
    try:
        text = markdown(*measure(given.table, given.target, given.seed), given.target)
        sys.stdout.write(f"\n{text}\n")
        if given.page:
            fill_page(given.page, BEGIN, END, text)
    except (AnswersError, CompositionError, EncoderMissing, FitError, OutcomeError, PageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
