"""A strategy's graph with the path that a request took, as Graphviz's DOT and as Mermaid's text.

Drawn from a decision's trace document alone, so that a decision of last year, or of a strategy that is
gone, has its graph too. A trace holds no text of prompts or answers, and so neither does its graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

LABELS = {"__start__": "request", "__end__": "answer"}
TAKEN, IDLE, FAILED, FAINT = "#6d4aff", "#b9bdcb", "#c0392b", "#8a8f9f"


@dataclass(frozen=True, slots=True)
class _Graph:
    """Nodes with the lines of their boxes; edges as (from, to, label); the edges and nodes of the path."""

    nodes: dict[str, list[str]]
    edges: list[tuple[str, str, str]]
    path: set[tuple[str, str]]
    failed: set[str]

    @property
    def visited(self) -> set[str]:
        return {name for edge in self.path for name in edge}


def dot(trace: Mapping[str, Any]) -> str:
    """The graph in DOT; nodes and edges of the path are coloured."""
    graph = _read(trace)
    ids = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    lines = [
        "digraph {",
        "rankdir=LR; bgcolor=transparent;",
        'node [shape=box style=rounded fontname="sans-serif" fontsize=11];',
        'edge [fontname="sans-serif" fontsize=9];',
    ]
    for name, text in graph.nodes.items():
        label = "\\n".join(_dot_text(line) for line in text)
        colour = FAILED if name in graph.failed else TAKEN if name in graph.visited else IDLE
        font = "" if name in graph.visited else f' fontcolor="{FAINT}"'
        lines.append(f'{ids[name]} [label="{label}" color="{colour}"{font}];')
    for source, target, label in graph.edges:
        colour = TAKEN if (source, target) in graph.path else IDLE
        style = f'label="{_dot_text(label)}" color="{colour}" fontcolor="{colour}"'
        lines.append(f"{ids[source]} -> {ids[target]} [{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(trace: Mapping[str, Any]) -> str:
    """The graph as Mermaid's flowchart; nodes and edges of the path are marked."""
    graph = _read(trace)
    ids = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for name, text in graph.nodes.items():
        label = "<br/>".join(_mermaid_text(line) for line in text)
        shape = f'(["{label}"])' if name in LABELS else f'["{label}"]'
        lines.append(f"  {ids[name]}{shape}{':::taken' if name in graph.visited else ''}")
    for source, target, label in graph.edges:
        word = f"|{_mermaid_text(label)}|" if label else ""
        lines.append(f"  {ids[source]} -->{word} {ids[target]}")
    lines.append(f"  classDef taken stroke:{TAKEN},stroke-width:2px")
    marked = [str(i) for i, (source, target, _) in enumerate(graph.edges) if (source, target) in graph.path]
    if marked:
        lines.append(f"  linkStyle {','.join(marked)} stroke:{TAKEN},stroke-width:2px")
    return "\n".join(lines) + "\n"


def _read(trace: Mapping[str, Any]) -> _Graph:
    graph = trace.get("graph") or {}
    steps = trace.get("steps") or []
    names = [str(name) for name in graph.get("nodes", [])] or list(LABELS)
    return _Graph(
        nodes={name: _lines(name, steps) for name in names},
        edges=[
            (source, target, "" if label == target else str(label or "").replace("_", " "))
            for source, target, label in graph.get("edges", [])
            if source in names and target in names
        ],
        path={(str(source), str(target)) for source, target in graph.get("path", [])},
        failed={step["node"] for step in steps if step.get("status") == "failed"},
    )


def _lines(name: str, steps: list[Mapping[str, Any]]) -> list[str]:
    """What a node's box says: its name, and the calls that were made in it. A call outside of the graph, as
    its last resort, led to the answer."""
    lines = [LABELS.get(name) or name.replace("_", " ")]
    for step in steps:
        if (step.get("node") or "__end__") != name:
            continue
        facts = [str(step["expert"]), f"{step.get('completion_tokens', 0)} tokens"]
        if step.get("ms") is not None:
            facts.append(f"{step['ms']:.0f} ms")
        if step.get("confidence") is not None:
            facts.append(f"{step['confidence']:.2f}")
        if step.get("status") not in {"ok", "running"}:
            facts.append(str(step.get("status")))
        lines.append(" · ".join(facts))
    return lines


def _dot_text(text: str) -> str:
    """Text inside DOT's double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_text(text: str) -> str:
    """Text that cannot end Mermaid's quotes or begin its syntax."""
    return escape(text.replace("_", " "), quote=True).replace("|", "&#124;")
