"""The table and plot of `benchmarks.live_strategies`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client import ExpertInfo


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt asked one way."""

    arm: str
    id: str
    category: str
    score: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    calls: list[str]
    strategy: str = ""
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration over all prompts. Means per request, except for seconds (p50 and p95).
    `active_params_b` sums over the calls; `error` is the standard error of the score."""

    name: str
    answers: int
    score: float
    error: float
    calls: float
    prompt_tokens: float
    completion_tokens: float
    active_params_b: float
    p50_s: float
    p95_s: float
    degraded: float


def rows_of(answers: Sequence[Answer], names: Sequence[str], experts: Mapping[str, ExpertInfo]) -> list[Row]:
    """A row for each name that has answers, on the prompts that all of them answered."""
    by_arm = {name: {each.id: each for each in answers if each.arm == name} for name in names}
    present = {name: found for name, found in by_arm.items() if found}
    shared = set.intersection(*(set(found) for found in present.values())) if present else set()
    rows = []
    for name, found in present.items():
        own = [found[id_] for id_ in sorted(shared)]
        if not own:
            continue
        scores = [each.score for each in own]
        seconds = sorted(each.seconds for each in own)
        rows.append(
            Row(
                name=name,
                answers=len(own),
                score=statistics.fmean(scores),
                error=statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else 0.0,
                calls=statistics.fmean(len(each.calls) for each in own),
                prompt_tokens=statistics.fmean(each.prompt_tokens for each in own),
                completion_tokens=statistics.fmean(each.completion_tokens for each in own),
                active_params_b=statistics.fmean(
                    sum(_size(experts, expert) for expert in each.calls) for each in own
                ),
                p50_s=seconds[len(seconds) // 2],
                p95_s=seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
                degraded=statistics.fmean(each.degraded for each in own),
            )
        )
    return rows


def _size(experts: Mapping[str, ExpertInfo], name: str) -> float:
    facts = experts.get(name)
    return (facts.active_params_b or 0.0) if facts else 0.0


def table_of(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| asked | score | calls | tokens in | tokens out | active B | p50 s | p95 s | degraded |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.score:.3f} ± {row.error:.3f} | {row.calls:.2f} | {row.prompt_tokens:.0f} "
            f"| {row.completion_tokens:.0f} | {row.active_params_b:.2f} | {row.p50_s:.1f} | {row.p95_s:.1f} "
            f"| {row.degraded:.0%} |"
        )
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Plot score against active parameters, with standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        colour = "#c2571a" if row.calls == 1 and row.name != "single" else "#1f5fa8"
        axes.errorbar(
            [row.active_params_b], [row.score], yerr=[row.error], fmt="o", color=colour, capsize=2, lw=1
        )
        axes.annotate(
            row.name,
            (row.active_params_b, row.score),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("active parameters that ran for a request, billions, mean")
    axes.set_ylabel("mean score")
    axes.set_title(f"Strategies live, {rows[0].answers if rows else 0} checkable prompts", fontsize=11)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
