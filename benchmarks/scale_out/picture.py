"""The picture of the sweep: first token and pace by the rate of requests."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.scale_out.cluster import Outcome

COLOURS = {"random": "#c2571a", "load": "#8a8f98", "affinity": "#1f5fa8"}


def draw(
    path: Path,
    found: Mapping[tuple[float, str], Outcome],
    names: Mapping[str, str],
    first_s: float,
    pace_s: float,
) -> None:
    """Two plots over requests a second, a line for each policy; dashed: what counts as served well."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    first, pace = figure.subplots(1, 2)
    for policy, name in names.items():
        points = sorted((rate, each) for (rate, which), each in found.items() if which == policy)
        rates = [rate / 1000 for rate, _ in points]
        style = {"color": COLOURS[policy], "marker": "o", "markersize": 4, "label": name}
        first.plot(rates, [1000 * each.first(99) for _, each in points], **style)
        pace.plot(rates, [1000 * each.pace(99) for _, each in points], **style)
    for axes, bound, label in (
        (first, first_s, "time to the first token, p99, ms"),
        (pace, pace_s, "time between tokens, p99, ms"),
    ):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter("{x:,g}")
        axes.tick_params(axis="y", which="minor", labelsize=7)
        axes.axhline(1000 * bound, color="#444444", linewidth=0.9, linestyle="--")
        axes.set_xlabel("thousand requests a second on 1,000 GPUs")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    first.legend(frameon=False, title="a request goes to")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
