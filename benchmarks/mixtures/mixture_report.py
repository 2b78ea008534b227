"""The summary as Markdown and as a picture, and the page that shows both."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.mixtures.methods import METHODS, MIXTURE
from benchmarks.mixtures.mixture_summary import RIVALS, Interval, Summary
from benchmarks.mixtures.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    MIXTURE: "#1f5fa8",
    "nearest demos": "#c2571a",
    "random demos": "#d9a441",
    "instruction": "#5b8c5a",
    "zero-shot": "#8d8d8d",
}


def markdown(summary: Summary, tasks: Sequence[Task], command: str) -> str:
    """Tables: accuracy by task, the mixture against each baseline, what regions chose, what it costs."""
    by_name = {task.name: task for task in tasks}
    seeds = sorted({each.seeds for each in summary.tasks})
    said = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines = [
        f"{len(summary.tasks)} tasks, {said} seeds each, {summary.runs} runs of",
        "",
        f"    {command}",
        "",
        "| task | kinds | " + " | ".join(METHODS) + " |",
        "|---|---|" + "---|" * len(METHODS),
    ]
    for each in summary.tasks:
        best = max(found.value for found in each.accuracy.values())
        cells = [_cell(each.accuracy[method], best) for method in METHODS]
        kinds = len(by_name[each.task].kinds) if each.task in by_name else "?"
        lines.append(f"| {each.task} | {kinds} | " + " | ".join(cells) + " |")
    best = max(found.value for found in summary.mean.values())
    lines.append("| **mean** | | " + " | ".join(_cell(summary.mean[m], best) for m in METHODS) + " |")
    lines += ["", *_against(summary), "", *_chosen(summary), "", *_costs(summary)]
    return "\n".join(lines)


def _cell(found: Interval, best: float) -> str:
    shown = f"{found.value:.2f}"
    shown = f"**{shown}**" if found.value >= best - 1e-9 else shown
    return f"{shown} ({found.low:.2f}–{found.high:.2f})"


def _against(summary: Summary) -> list[str]:
    lines = [
        "| the mixture against | tasks won, tied, lost | win rate over tasks | over runs | accuracy gained |",
        "|---|---|---|---|---|",
    ]
    for each in summary.against:
        lines.append(
            f"| {each.rival} | {each.wins}, {each.ties}, {each.losses} | {each.rate.value:.0%} "
            f"({each.rate.low:.0%}–{each.rate.high:.0%}) | {each.runs_rate:.0%} | "
            f"{each.difference.value:+.3f} ({each.difference.low:+.3f} to {each.difference.high:+.3f}) |"
        )
    average = sum(each.rate.value for each in summary.against) / len(summary.against)
    lines.append(f"| average | | {average:.0%} | | |")
    return lines


def _chosen(summary: Summary) -> list[str]:
    lines = [
        "| task | regions | what test requests got | the search expected | best rival | mixture minus it "
        "| tokens | its tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in summary.tasks:
        rival = max(RIVALS, key=lambda name: each.accuracy[name].value)
        gap = each.difference[rival]
        prompts = ", ".join(f"{kind} {share:.0%}" for kind, share in each.prompts.items())
        lines.append(
            f"| {each.task} | {each.regions:.1f} | {prompts} | {each.estimate:.2f} | {rival} | "
            f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f}) | "
            f"{each.tokens[MIXTURE]:.0f} | {each.tokens[rival]:.0f} |"
        )
    return lines


def _costs(summary: Summary) -> list[str]:
    lines = [
        "| method | calls to prepare | tokens to prepare | seconds | prompt tokens a request | in the prefix "
        "cache | computed | answer tokens | s a request |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in summary.costs:
        lines.append(
            f"| {each.method} | {each.calls:.0f} | {each.learning_tokens:,.0f} "
            f"| {_or_dash(each.learning_seconds)} "
            f"| {each.prompt_tokens:.0f} | {_or_dash(each.hit_rate, '.0%')} "
            f"| {_or_dash(None if each.hit_rate is None else each.computed_tokens)} "
            f"| {each.completion_tokens:.1f} | {_or_dash(each.seconds, '.2f')} |"
        )
    return lines


def _or_dash(value: float | None, form: str = ".0f") -> str:
    return "–" if value is None else format(value, form)


def draw(summary: Summary, path: Path, title: str) -> None:
    """Left: accuracy by task and method with intervals. Right: what is gained over each rival, and
    accuracy against prompt tokens."""
    from matplotlib.figure import Figure

    rows = len(summary.tasks) + 1
    figure = Figure(figsize=(11, 1.8 + 0.46 * rows), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.7, 1])
    _accuracies(figure.add_subplot(grid[:, 0]), summary)
    _gains(figure.add_subplot(grid[0, 1]), summary)
    _prices(figure.add_subplot(grid[1, 1]), summary)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _accuracies(axes: "Axes", summary: Summary) -> None:
    rows = [*((each.task, each.accuracy) for each in summary.tasks), ("mean", summary.mean)]
    for row, (_, accuracy) in enumerate(rows):
        for place, method in enumerate(reversed(METHODS)):
            found = accuracy[method]
            height = row + (place - (len(METHODS) - 1) / 2) * -0.15
            axes.plot([found.low, found.high], [height] * 2, color=COLOURS[method], linewidth=1.1, alpha=0.55)
            axes.scatter(
                [found.value],
                [height],
                color=COLOURS[method],
                s=34 if method == MIXTURE else 17,
                marker="D" if method == MIXTURE else "o",
                zorder=3,
                label=method if row == 0 else None,
            )
    axes.axhline(len(rows) - 1.5, color="#cccccc", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("accuracy on test items, 95 % intervals over seeds and items")
    axes.grid(axis="x", color="#eeeeee")
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], frameon=False, fontsize=8, ncols=5, loc="lower center",
        bbox_to_anchor=(0.5, 1.0), columnspacing=0.9, handletextpad=0.2,
    )  # fmt: skip


def _gains(axes: "Axes", summary: Summary) -> None:
    for row, each in enumerate(summary.against):
        colour = COLOURS[each.rival]
        axes.plot([each.difference.low, each.difference.high], [row] * 2, color=colour, linewidth=2)
        axes.scatter([each.difference.value], [row], color=colour, s=34, zorder=3)
    axes.axvline(0, color="#555555", linewidth=0.8)
    axes.set_yticks(
        range(len(summary.against)),
        [f"{each.rival}\nwon {each.rate.value:.0%}" for each in summary.against],
        fontsize=8,
    )
    axes.set_ylim(len(summary.against) - 0.5, -0.5)
    axes.set_xlabel("accuracy gained by the mixture, mean over tasks", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _prices(axes: "Axes", summary: Summary) -> None:
    """Where the prefix cache's hits are known, only what it did not hold counts."""
    for each in summary.costs:
        spot = (each.computed_tokens, summary.mean[each.method].value)
        colour, mixture = COLOURS[each.method], each.method == MIXTURE
        axes.scatter([spot[0]], [spot[1]], color=colour, s=46, marker="D" if mixture else "o")
        # Those of few tokens lie close together: their names stand on different sides.
        beside, below = each.method in {MIXTURE, "zero-shot"}, each.method == "random demos"
        axes.annotate(
            each.method,
            spot,
            xytext=(7, -3) if beside else (0, -14 if below else 7),
            textcoords="offset points",
            ha="left" if beside else "center",
            fontsize=8,
            color=colour,
        )
    axes.margins(x=0.22, y=0.25)
    axes.set_xlabel("prompt tokens a request, beyond the prefix cache", fontsize=9)
    axes.set_ylabel("mean accuracy", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
