"""The picture of `coterie residency simulate`, with Matplotlib's object interface (no display needed)."""

import math
from pathlib import Path

from app.operations.residency_replay import ResidencyReplay

COLOURS = {"lru": "#b9b2a6", "lfu": "#8a8378", "predictor": "#1f5fa8", "belady": "#c2571a"}
LABELS = {"level1": "sleep level 1", "level2": "sleep level 2", "stopped": "stopped, reloaded"}


def draw_residency(path: Path, found: ResidencyReplay, title: str) -> None:
    """Mean and p99 wait, and the hit rate, of each policy by the way servers leave memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ways = list(dict.fromkeys(each.leaves for each in found.results))
    policies = list(dict.fromkeys(each.policy for each in found.results))
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    waits, hits = figure.subplots(1, 2)
    width = 0.8 / len(policies)
    for each in found.results:
        place = ways.index(each.leaves) + (policies.index(each.policy) - (len(policies) - 1) / 2) * width
        colour = COLOURS.get(each.policy, "#444444")
        label = each.policy if each.leaves == ways[0] else None
        waits.bar(place, max(each.mean_wait_s, 1e-3), width * 0.9, color=colour, label=label)
        waits.plot([place] * 2, [max(each.mean_wait_s, 1e-3), max(each.wait_s(99), 1e-3)], color=colour, lw=1)
        waits.plot([place], [max(each.wait_s(99), 1e-3)], marker="_", color=colour, markersize=9)
        hits.bar(place, each.hit_rate, width * 0.9, color=colour)
    for line, metric in zip(("--", ":", "-."), found.segments, strict=False):
        label = f"best cache, {metric.length} requests ahead"
        hits.axhline(metric.sch, color="#2f8f5b", lw=1, linestyle=line, label=label)
    waits.set_yscale("log")
    least = min(each.mean_wait_s for each in found.results)
    waits.set_ylim(bottom=10.0 ** math.floor(math.log10(max(least, 1e-3))) / 2)
    waits.set(ylabel="wait for the server, seconds", title="Mean wait (bars) and 99th percentile (dashes)")
    hits.set(ylabel="share of requests that do not wait", title="Hit rate", ylim=(0, 1.2))
    hits.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for axes in (waits, hits):
        axes.set_xticks(range(len(ways)), [LABELS[way] for way in ways])
        axes.spines[["top", "right"]].set_visible(False)
    waits.legend(frameon=False, fontsize=8)
    if found.segments:
        hits.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130, metadata={"Software": None})
