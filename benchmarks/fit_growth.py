"""Time and memory of `coterie fit` by the number of prompts: `python -m benchmarks.fit_growth`.

Fits synthetic outcome tables of rising size, each in a process of its own on one thread, from the reading of
the table to the report. Prompts are the seed prompts with a number before them; their states are not encoded
but drawn around the seeds' (`benchmarks.growth_data`), since encoding is known to take the same time for
every prompt. Seconds are of processor time. `--page` puts the table and the picture into
docs/explanation/growth.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measured_pages import fill_page

if TYPE_CHECKING:
    from routers.request import Matrix

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "explanation" / "growth.md"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
STEPS = {
    "reading prompts": "features",
    "categories": "novelty",
    "classifier knn": "k-NN",
    "classifier logistic": "logistic",
    "classifier centroid": "centroid",
    "utilities": "utilities",
    "correction": "correction",
    "classifier": "refit, save",
    "report": "report",
}
"""Names of the steps of a fit, and how the table calls them."""


class DrawnStates:
    """An encoder of texts that begin with a number: that row of `states` (texts, width)."""

    name, revision = "drawn", "1"

    def __init__(self, states: "Matrix", dimension: int) -> None:
        self._states = states
        self.dimension, self.width = dimension, states.shape[1]

    def encode(self, texts: Sequence[str]) -> "Matrix":
        return self.states(texts)[:, : self.dimension]

    def states(self, texts: Sequence[str]) -> "Matrix":
        return self._states[[int(text.split(maxsplit=1)[0]) for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def measure(prompts: int, scratch: Path) -> dict[str, float]:
    """Processor seconds of each step of a fit on so many prompts, `total`, `wall`, and `memory` (MB)."""
    import numpy as np

    from app.operations.composition_fit import FitSource, fit_from_files
    from benchmarks.growth_data import perturbed, write_table
    from prompts.seeds import load_seeds
    from routers.conversation import prompt_text
    from routers.embeddings import states_cached, vectors_folder
    from routers.encoder import load_encoder
    from routers.fitting import FitOptions

    encoder, seeds = load_encoder(), load_seeds("fit")
    real = states_cached(encoder, [prompt_text(seed.prompt) for seed in seeds], vectors_folder())
    dimension = encoder.dimension
    embeddings, sources = perturbed(np.ascontiguousarray(real[:, :dimension]), prompts, seed=1)
    states = np.concatenate([embeddings, real[sources, dimension:]], axis=1)
    texts = [f"{row} {seeds[int(source)].prompt}" for row, source in enumerate(sources)]
    write_table(scratch / "table", texts, [seeds[int(source)].category for source in sources])
    spent: dict[str, float] = dict.fromkeys(STEPS, 0.0)
    running, since = "reading prompts", time.process_time()
    begun, started = since, time.perf_counter()

    def step(what: str, done: int, total: int) -> None:
        nonlocal running, since
        now = time.process_time()
        spent[running] += now - since
        running, since = what, now

    fit_from_files(
        FitSource(scratch / "table", (), seeds=False),
        scratch / "composition",
        DrawnStates(states, dimension),
        FitOptions(jobs=1, correction=True),
        step=step,
    )
    step("reading prompts", 1, 1)
    return {
        **spent,
        "total": since - begun,
        "wall": time.perf_counter() - started,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(found: dict[int, dict[str, float]]) -> str:
    """The measurements in Markdown, a row for each number of prompts."""
    head = ["prompts", "CPU s", "ms a prompt", *STEPS.values(), "peak MB"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for prompts, spent in found.items():
        cells = [f"{prompts:,}", f"{spent['total']:.0f}", f"{spent['total'] / prompts * 1000:.1f}"]
        cells += [f"{spent[name]:.1f}" for name in STEPS]
        rows.append("| " + " | ".join([*cells, f"{spent['memory']:,.0f}"]) + " |")
    return "\n".join(rows)


def draw(found: dict[int, dict[str, float]], path: Path) -> None:
    """Processor seconds over the number of prompts, the whole and its steps, and a straight line beside."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    sizes = list(found)
    for name, shown in STEPS.items():
        seconds = [max(found[size][name], 1e-2) for size in sizes]
        axes.plot(sizes, seconds, linewidth=1, marker=".", label=shown)
    axes.plot(sizes, [found[size]["total"] for size in sizes], color="black", marker="o", label="whole fit")
    last = found[sizes[-1]]["total"] / sizes[-1]
    axes.plot(sizes, [last * size for size in sizes], color="#6b7280", linestyle="--", label="in proportion")
    axes.set(xscale="log", yscale="log", xlabel="prompts", ylabel="processor seconds")
    axes.grid(alpha=0.2)
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper left")
    axes.set_ylim(top=10 * max(spent["total"] for spent in found.values()))
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="a page to fill")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one is not None:
        with tempfile.TemporaryDirectory(prefix="coterie-growth-") as scratch:
            sys.stdout.write(json.dumps(measure(given.one, Path(scratch))))
        return 0
    found: dict[int, dict[str, float]] = {}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    for size in sorted(given.sizes):
        command = [sys.executable, "-m", "benchmarks.fit_growth", "--one", str(size)]
        done = subprocess.run(
            command, cwd=PROJECT, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True
        )
        found[size] = json.loads(done.stdout)
        sys.stderr.write(f"{size:,}: {found[size]['total']:.0f} s\n")
    sys.stdout.write(table(found) + "\n")
    if given.page is not None:
        draw(found, given.page.parent / "images" / "fit-growth.png")
        fill_page(given.page, "<!-- measured: fits -->", "<!-- end: fits -->", table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
