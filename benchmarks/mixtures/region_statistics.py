"""What regions of the tasks are like, without asking a model.

    python -m benchmarks.mixtures.region_statistics

For each task, over seeds: how many regions its demos fall into; the share of test items in a region of
their own kind; how much regions tell of answers (normalised mutual information); and who is turned away
as far: test items, which should not be, and strangers (our seed prompts of all categories), who should.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from base.terminal import console
from benchmarks.mixtures.public_tasks import shared_tasks
from benchmarks.mixtures.settings import Sizes
from benchmarks.mixtures.task import Split, Task, TaskError, draw_split
from benchmarks.mixtures.task_list import TASKS
from prompts.mixture.build import Encode
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix
from prompts.mixture.regions import DemoClusters, demo_clustering

STRANGERS = 4
"""Every so many of the seed prompts that are put aside are asked as strangers."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of one task and seed. Shares are 0..1."""

    regions: int
    same_kind: float
    """Test items that are of the kind of most demos of their region."""
    tells_answers: float
    """Normalised mutual information of regions and answers, over demos."""
    own_far: float
    strangers_near: float


def geometry(split: Split, strangers: Matrix, encode: Encode) -> Geometry:
    """The regions that demos of `split` have with the builder's defaults."""
    from sklearn.metrics import normalized_mutual_info_score

    demos = encode([example.input for example in split.train])
    asked = encode([example.input for example in split.test])
    clusters = demo_clustering(demos, BuildConfig(held_out_share=0.0))
    kinds = [
        Counter(split.train[index].kind for index in clusters.members(region)).most_common(1)[0][0]
        for region in range(len(clusters))
    ]
    nearest, far = _nearest(asked, clusters)
    return Geometry(
        regions=len(clusters),
        same_kind=float(
            np.mean([kinds[region] == each.kind for region, each in zip(nearest, split.test, strict=True)])
        ),
        tells_answers=float(
            normalized_mutual_info_score([example.output for example in split.train], clusters.labels)
        ),
        own_far=float(np.mean(far)),
        strangers_near=float(1 - np.mean(_nearest(strangers, clusters)[1])),
    )


def _nearest(rows: Matrix, clusters: DemoClusters) -> tuple[list[int], list[bool]]:
    """Of each row its region, and whether it is beyond the region's radius."""
    distances = np.linalg.norm(rows[:, None] - clusters.centroids[None], axis=2)
    nearest = distances.argmin(axis=1)
    far = distances[np.arange(len(rows)), nearest] > clusters.radii[nearest]
    return nearest.tolist(), far.tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row a task, means over seeds."""
    from prompts.seeds import load_seeds
    from routers.encoder import EncoderMissing, load_encoder

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixtures.region_statistics", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, metavar="DIR", help="public data sets, for two more tasks")
    given = parser.parse_args(arguments)
    try:
        tasks = TASKS | (shared_tasks(given.data) if given.data else {})
        encoder = load_encoder()
    except (TaskError, EncoderMissing) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 1
    strangers = encoder.encode([seed.prompt for seed in load_seeds("test")[::STRANGERS]])
    _print([(task, _over_seeds(task, given.seeds, strangers, encoder.encode)) for task in tasks.values()])
    return 0


def _over_seeds(task: Task, seeds: int, strangers: Matrix, encode: Encode) -> list[Geometry]:
    sizes = Sizes()
    splits = (draw_split(task, seed, train=sizes.train, test=sizes.test) for seed in range(seeds))
    return [geometry(split, strangers, encode) for split in splits]


def _print(rows: Sequence[tuple[Task, Sequence[Geometry]]]) -> None:
    from rich.table import Table

    names = ("regions", "same_kind", "tells_answers", "own_far", "strangers_near")
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("task")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    every = [each for _, found in rows for each in found]
    for title, found in [*((task.name, found) for task, found in rows), ("mean", every)]:
        means = [float(np.mean([getattr(each, name) for each in found])) for name in names]
        table.add_row(title, f"{means[0]:.1f}", *(f"{value:.3f}" for value in means[1:]))
    console(stderr=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
