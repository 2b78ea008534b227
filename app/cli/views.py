"""Decisions and experts for people in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from client import ExpertInfo, RoutingDecision


def summary(decision: "RoutingDecision") -> str:
    """A decision in one line."""
    sure = "" if decision.probability is None else f" ({decision.probability:.0%})"
    about = f" · {decision.category}{sure}" if decision.category else ""
    return f"— {decision.expert}{about} · {decision.reason}: {decision.detail}"


def strategy_lines(decision: "RoutingDecision") -> list[str]:
    """Who said how many experts answer, and what each of them did; nothing where one answered as usual."""
    lines = [f"  {decision.strategy}: {decision.strategy_detail}"] if decision.strategy_detail else []
    trace = decision.trace
    if trace is None:
        return lines
    for step in trace.steps:
        sure = "" if step.confidence is None else f" · confidence {step.confidence:.2f}"
        took = "" if step.ms is None else f" · {step.ms:.0f} ms"
        tokens = f"{step.prompt_tokens}+{step.completion_tokens} tokens"
        state = "" if step.status == "ok" else f" · {step.status}"
        lines.append(f"  {step.node}: {step.expert} · {step.purpose} · {tokens}{took}{sure}{state}")
    lines += [f"  {sentence}" for sentence in trace.notes]
    lines += [f"  ! {sentence}" for sentence in trace.degraded]
    return lines


def decision_table(decision: "RoutingDecision") -> "RenderableType":
    """A decision as a table of the ranked experts under a headline."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None, show_edge=False, pad_edge=False)
    for heading in ("", "expert"):
        table.add_column(heading)
    for heading in ("value", "utility", "active B", "$ a request"):
        table.add_column(heading, justify="right")
    table.add_column("", overflow="fold")
    for choice in decision.ranking:
        chosen = choice.expert == decision.expert
        table.add_row(
            "→" if chosen else "",
            Text(choice.expert, style="bold" if chosen else ""),
            f"{choice.value:.3f}",
            f"{choice.utility:.3f}",
            f"{choice.active_params_b:g}",
            "–" if choice.cost is None else f"{choice.cost:.3g}",
            choice.excluded or "",
            style="dim" if choice.excluded else "",
        )
    strategy = [Text(line.strip()) for line in strategy_lines(decision)]
    return Group(
        Text(_headline(decision)), Text(decision.detail), *strategy, Text(_likely(decision)), Text(""), table
    )


def expert_table(experts: "Sequence[ExpertInfo]", *, wide: bool) -> "RenderableType":
    """The experts of a registry, with their health when it is known; `wide` adds descriptions."""
    from rich.table import Table
    from rich.text import Text

    colours = {"up": "green", "down": "red", "starting": "yellow", "waking": "yellow", "asleep": "blue"}
    table = Table(show_edge=False, pad_edge=False)
    for heading, right in (
        ("expert", False),
        ("state", False),
        ("B", True),
        ("active B", True),
        ("context", True),
        ("can", False),
        ("over", False),
        *([("description", False)] if wide else []),
    ):
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading == "expert")
    for expert in experts:
        state = expert.health.state
        table.add_row(
            Text(expert.name, style="bold"),
            Text(state, style=colours.get(state, "dim")),
            *("" if size is None else f"{size:g}" for size in (expert.params_b, expert.active_params_b)),
            "" if expert.context_length is None else f"{expert.context_length:,}",
            ", ".join(expert.capabilities) or "chat",
            Text(expert.base or ""),
            *([Text(expert.description)] if wide else []),
        )
    return table


def _headline(decision: "RoutingDecision") -> str:
    sure = "" if decision.probability is None else f" at {decision.probability:.1%}"
    return f"{decision.expert} · {decision.reason} · {decision.category or 'no category'}{sure}"


def _likely(decision: "RoutingDecision") -> str:
    others = ", ".join(f"{each.category} {each.probability:.1%}" for each in decision.runners_up)
    ood = decision.ood_score
    parts = [f"then {others}" if others else "", "" if ood is None else f"novelty {ood:.2f}"]
    return " · ".join(part for part in parts if part)
