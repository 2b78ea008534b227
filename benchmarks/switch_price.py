"""What pricing switches changes: score, wait and switches of maps for experts of which some are loaded at
once.

    python -m benchmarks.switch_price TABLE --loaded-b 75 [--weights 0 0.001 0.01 0.03] [--splits 5]

Half of a table's prompts make the map, the other half are its requests, in runs of one category, replayed by
`experts.residency.simulation` under the predictor in memory for so many billion parameters. The category of a
request is taken as known: what a classifier gets wrong is not in it. Prints rows of a Markdown table, the
mean over random halves.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.operations.residency_replay import Traffic, sized_servers, table_stream
from experts.residency.residency import ResidencyLimits
from experts.residency.simulation import SwitchTimes, policy_named, simulate
from experts.residency_settings import BATCH_S, Absence
from routers.mapping import SwitchPrice, solve_map
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.utilities import bases_of, estimate_with_arms

TIMES = SwitchTimes()
RATE, ANSWER_S, REQUESTS = 0.3, 5.0, 3_000


@dataclass(frozen=True, slots=True)
class Row:
    """Of one map and stream: score, mean wait in seconds, switches a request, experts that the map uses."""

    score: float
    wait_s: float
    switches: float
    experts: int


def priced(
    table: OutcomeTable, loaded_b: float, weight: float, leaves: Absence, run: float, seed: int
) -> Row:
    """One random half of `table` as requests for the map of the other."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(table))
    fitted, asked = order[: len(table) // 2], order[len(table) // 2 :]
    categories = sorted(set(table.categories))
    labels = np.asarray([categories.index(each) for each in table.categories])
    utilities = estimate_with_arms(
        table.scores[fitted], labels[fitted], len(categories), bases_of(table.experts)
    )
    shares = (np.bincount(labels[fitted], minlength=len(categories)) / len(fitted)).astype(np.float32)
    found = solve_map(
        utilities.by_category,
        table.experts,
        shares,
        np.zeros((1, len(table.experts)), dtype=np.float32),
        switching=SwitchPrice(loaded_b, weight * TIMES.wake_s(leaves), run),
    )
    chosen = np.asarray(found.expert_of)[labels[asked]]
    names = [table.experts[column].base or table.experts[column].name for column in chosen.tolist()]
    traffic = Traffic(rate=RATE, run=run, answer_s=ANSWER_S, requests=REQUESTS, seed=seed)
    stream = table_stream([table.categories[row] for row in asked.tolist()], names, traffic)
    sizes = {card.base or card.name: card.params_b for card in table.experts}
    servers = sized_servers({name: sizes[name] for name in sorted(set(names))}, 1.0)
    limits = ResidencyLimits(loaded_b, leaves=leaves, batch_s=BATCH_S[leaves])
    policy = policy_named("predictor", [each.name for each in servers], stream)
    replayed = simulate(stream, servers, limits, TIMES, policy)
    return Row(
        float(np.nanmean(table.scores[asked, chosen])),
        replayed.mean_wait_s,
        replayed.switches / len(stream),
        len(servers),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--loaded-b", type=float, required=True, help="billions of parameters loaded at once")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.001, 0.01, 0.03])
    parser.add_argument("--splits", type=int, default=5)
    given = parser.parse_args(arguments)
    table = read_outcomes(given.table)
    ways: tuple[Absence, ...] = ("level2", "stopped")
    for leaves in ways:
        for run in (1.0, 8.0):
            for weight in given.weights:
                rows = [
                    priced(table, given.loaded_b, weight, leaves, run, seed) for seed in range(given.splits)
                ]
                score, wait, switches, experts = (
                    float(np.mean([getattr(row, name) for row in rows])) for name in Row.__dataclass_fields__
                )
                sys.stdout.write(
                    f"| {leaves} | {run:g} | {weight:g} | {score:.4f} | {wait:.2f} s | {switches:.3f} "
                    f"| {experts:.1f} |\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
