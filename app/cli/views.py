"""Decisions and experts for people in a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


def summary(routing: Mapping[str, Any]) -> str:
    """A decision in one line."""
    category = routing.get("category")
    probability = routing.get("probability")
    sure = f" ({probability:.0%})" if isinstance(probability, int | float) else ""
    about = f" · {category}{sure}" if category else ""
    return f"— {routing.get('expert')}{about} · {routing.get('reason')}: {routing.get('detail')}"


def strategy_lines(routing: Mapping[str, Any]) -> list[str]:
    """Who said how many experts answer, and what each of them did; nothing where one answered as usual."""
    lines = []
    if routing.get("strategy_detail"):
        lines.append(f"  {routing['strategy']}: {routing['strategy_detail']}")
    trace = routing.get("trace")
    if not isinstance(trace, Mapping):
        return lines
    for step in trace.get("steps", []):
        sure = "" if step.get("confidence") is None else f" · confidence {step['confidence']:.2f}"
        took = "" if step.get("ms") is None else f" · {step['ms']:.0f} ms"
        tokens = f"{step['prompt_tokens']}+{step['completion_tokens']} tokens"
        state = "" if step["status"] == "ok" else f" · {step['status']}"
        lines.append(f"  {step['node']}: {step['expert']} · {step['purpose']} · {tokens}{took}{sure}{state}")
    lines += [f"  {sentence}" for sentence in trace.get("notes", [])]
    lines += [f"  ! {sentence}" for sentence in trace.get("degraded", [])]
    return lines


def decision_table(routing: Mapping[str, Any]) -> "RenderableType":
    """A decision as a table of the ranked experts under a headline."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None, show_edge=False, pad_edge=False)
    for heading in ("", "expert"):
        table.add_column(heading)
    for heading in ("value", "utility", "active B", "$/M tokens"):
        table.add_column(heading, justify="right")
    table.add_column("", overflow="fold")
    for choice in routing["ranking"]:
        chosen = choice["expert"] == routing["expert"]
        table.add_row(
            "→" if chosen else "",
            Text(choice["expert"], style="bold" if chosen else ""),
            f"{choice['value']:.3f}",
            f"{choice['utility']:.3f}",
            f"{choice['active_params_b']:g}",
            f"{choice['price']:g}",
            choice["excluded"] or "",
            style="dim" if choice["excluded"] else "",
        )
    strategy = [Text(line.strip()) for line in strategy_lines(routing)]
    return Group(
        Text(_headline(routing)), Text(routing["detail"]), *strategy, Text(_likely(routing)), Text(""), table
    )


def expert_table(experts: Sequence[Mapping[str, Any]], *, wide: bool) -> "RenderableType":
    """The experts of a registry, with their health when it is known; `wide` adds descriptions."""
    from rich.table import Table
    from rich.text import Text

    colours = {"up": "green", "down": "red", "starting": "yellow"}
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
        state = (expert.get("health") or {}).get("state", "unknown")
        table.add_row(
            Text(expert["name"], style="bold"),
            Text(state, style=colours.get(state, "dim")),
            f"{expert['params_b']:g}",
            f"{expert['active_params_b']:g}",
            f"{expert['context_length']:,}",
            ", ".join(expert["capabilities"]) or "chat",
            Text(expert.get("base") or ""),
            *([Text(expert["description"])] if wide else []),
        )
    return table


def _headline(routing: Mapping[str, Any]) -> str:
    probability = routing.get("probability")
    sure = f" at {probability:.1%}" if isinstance(probability, int | float) else ""
    category = routing.get("category") or "no category"
    return f"{routing['expert']} · {routing['reason']} · {category}{sure}"


def _likely(routing: Mapping[str, Any]) -> str:
    others = ", ".join(f"{each['category']} {each['probability']:.1%}" for each in routing["runners_up"])
    ood = routing.get("ood_score")
    parts = [f"then {others}" if others else "", f"novelty {ood:.2f}" if ood is not None else ""]
    return " · ".join(part for part in parts if part)
