"""Simulates 1,000 GPUs with 50 experts under 10,000 requests a second, and writes what it finds into a
page.

    python -m benchmarks.scale_out --page docs/explanation/scale.md

Costs are published or measured (benchmarks/scale_out/costs.py names each), what conversations are like is
assumed (benchmarks/scale_out/traffic.py). Nothing runs but this program: figures are as good as its
assumptions.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measured_pages import fill_page
from benchmarks.scale_out.cluster import Cluster, Outcome, Replica
from benchmarks.scale_out.costs import pool, router_costs
from benchmarks.scale_out.fleet import Fleet, experts, fleet
from benchmarks.scale_out.picture import draw
from benchmarks.scale_out.routers import smallest
from benchmarks.scale_out.sharing import shared
from benchmarks.scale_out.traffic import Shape, traffic
from experts.residency_settings import Absence

POLICIES = {
    "random": "a replica at random",
    "load": "the least loaded",
    "affinity": "the conversation's, by load",
}
BEGIN, END = "<!-- measured: scale -->", "<!-- end -->"
FIRST_S, PACE_S = 2.0, 0.05
"""What counts as served well: p99 of the first token, p99 of the time between tokens."""
WAIT_S = 0.02
"""p99 of the wait for a process of the service."""
AWAY: dict[Absence, str] = {"level1": "sleep level 1", "level2": "sleep level 2", "stopped": "stopped"}
CORE_DOLLARS, GPU_DOLLARS = 0.04, 2.5
"""An hour of a core and of an H100, assumed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. The sweep over rates runs on `part` of the fleet, the experts, and the rate."""

    gpus: int = 1_000
    experts: int = 50
    rate: float = 10_000
    part: float = 0.2
    rates: tuple[float, ...] = (4_000, 8_000, 10_000, 12_000, 14_000, 16_000)
    warm_up_s: float = 30.0
    seconds: float = 20.0
    shape: Shape = field(default_factory=Shape)


SMALL = Plan(gpus=60, experts=10, rate=400, part=0.5, rates=(300, 600), warm_up_s=2, seconds=6)
"""To see that it runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print and write; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--page", type=Path, help="the page to write into")
    parser.add_argument("--picture", type=Path, help="by default images/scale.png beside the page")
    parser.add_argument("--small", action="store_true", help="a fleet of 60 GPUs for some seconds")
    options = parser.parse_args(arguments)
    plan = SMALL if options.small else Plan()
    whole = fleet(experts(plan.experts), plan.gpus, plan.shape)
    part = fleet(experts(round(plan.experts * plan.part)), round(plan.gpus * plan.part), plan.shape)
    at_once = {each: run(whole, plan.rate, each, plan) for each in POLICIES}
    sweep = {
        (rate, each): run(part, rate * plan.part, each, plan) for rate in plan.rates for each in POLICIES
    }
    tables = [
        models_table(),
        load_table(plan, whole, at_once),
        sweep_table(plan, sweep),
        router_table(plan),
        residency_table(plan),
    ]
    text = "\n\n".join(tables)
    print(text)  # noqa: T201 - the program's result
    if options.page is not None:
        fill_page(options.page, BEGIN, END, text)
    picture = options.picture or (options.page and options.page.parent / "images" / "scale.png")
    if picture:
        draw(picture, sweep, POLICIES, FIRST_S, PACE_S)
    return 0


def run(servers: Fleet, rate: float, policy: str, plan: Plan) -> Outcome:
    """One simulation. Every policy gets the same requests."""
    end = plan.warm_up_s + plan.seconds
    requests = traffic(rate, end, len(servers.models), plan.shape)
    replicas = [
        [Replica(model) for _ in range(count)]
        for model, count in zip(servers.models, servers.replicas, strict=True)
    ]
    return Cluster(replicas, policy).run(requests, plan.warm_up_s, end)


def well(outcome: Outcome) -> bool:
    return outcome.first(99) <= FIRST_S and outcome.pace(99) <= PACE_S


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if seconds < 1e6 else "none"


def models_table() -> str:
    rows = [
        [
            model.name,
            f"{model.gpus}",
            f"{model.prompt_tokens_s:,.0f}",
            f"{1000 * model.step_s(1, 1_000):.1f}",
            f"{1000 * model.step_s(64, 64_000):.1f}",
            f"{model.cache_tokens:,}",
        ]
        for model in pool().values()
    ]
    head = [
        "a replica of",
        "GPUs",
        "prompt tokens/s",
        "ms/token, 1 answer",
        "ms/token, 64 answers",
        "tokens of cache",
    ]
    return table(head, rows)


def load_table(plan: Plan, servers: Fleet, found: dict[str, Outcome]) -> str:
    head = (
        f"{plan.rate:,.0f} requests a second on {servers.gpus:,} GPUs: {len(servers.models)} experts, "
        f"{sum(servers.replicas)} replicas, "
        f"{servers.active_params_b(plan.shape):.1f} B average active parameters."
    )
    rows = [
        [
            POLICIES[policy],
            ms(each.first(50)),
            ms(each.first(99)),
            f"{1000 * each.pace(50):.1f}",
            f"{1000 * each.pace(99):.1f}",
            f"{each.tokens_s:,.0f}",
            f"{100 * each.read_again:.0f} %",
        ]
        for policy, each in found.items()
    ]
    columns = [
        "a request goes to",
        "first token p50, ms",
        "p99",
        "ms/token p50",
        "p99",
        "tokens/s",
        "prompt read again",
    ]
    return f"{head}\n\n{table(columns, rows)}"


def sweep_table(plan: Plan, found: dict[tuple[float, str], Outcome]) -> str:
    rows = []
    for rate in plan.rates:
        row = [f"{rate:,.0f}"]
        for policy in POLICIES:
            each = found[rate, policy]
            mark = "" if well(each) else " ✗"
            row.append(f"{ms(each.first(99))} / {1000 * each.pace(99):.0f}{mark}")
        rows.append(row)
    most = [
        f"{max((rate for rate in plan.rates if well(found[rate, policy])), default=0):,.0f}"
        for policy in POLICIES
    ]
    rows.append(["**highest without ✗**", *(f"**{each}**" for each in most)])
    head = [f"requests/s for {plan.gpus:,} GPUs", *POLICIES.values()]
    return f"First token p99 in ms / p99 of ms a token:\n\n{table(head, rows)}"


def router_table(plan: Plan) -> str:
    rows = []
    for name, row in (("read and routed", "Coterie, routed"), ("expert named", "Coterie, named")):
        costs = router_costs(row)
        found = smallest(plan.rate, plan.shape.answer, costs, WAIT_S, plan.seconds)
        dollars = found.processes * CORE_DOLLARS / (plan.gpus * GPU_DOLLARS)
        rows.append(
            [
                name,
                f"{1000 * costs.request_s:.2f} + {1000 * costs.chunk_s:.3f}",
                f"{plan.rate * costs.answer_s(plan.shape.answer):,.0f}",
                f"{found.processes:,}",
                f"{1000 * found.wait_p99_s:.1f}",
                f"{100 * dollars:.2f} %",
            ]
        )
    head = [
        "requests",
        "ms of a core, and a chunk",
        "cores busy",
        "processes",
        "wait p99, ms",
        "price beside the GPUs",
    ]
    return table(head, rows)


def residency_table(plan: Plan) -> str:
    models = experts(plan.experts)
    always = sum(model.gpus for model in models)
    requests = 300 if plan is SMALL else 2_000
    rows = []
    for gpus in (8, 16, 32):
        for leaves, name in AWAY.items():
            found = shared(models, gpus, 1.0, requests, leaves, plan.shape)
            hits, mean, worst = 100 * found.hit_rate, found.mean_wait_s, found.wait_s(99)
            rows.append([f"{gpus}", name, f"{hits:.0f} %", f"{mean:.2f}", f"{worst:.1f}"])
    head = ["GPUs", "experts that are away", "no wait", "mean wait, s", "p99, s"]
    return (
        f"One request a second over {plan.experts} experts, which take {always} GPUs when all are loaded:"
        "\n\n" + table(head, rows)
    )


if __name__ == "__main__":
    sys.exit(main())
