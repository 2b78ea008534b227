"""A strategy's graph with the path that a request took, as SVG and as Mermaid text.

Drawn from the trace alone, so that a decision of last year, or of a strategy that is gone, has its
picture too. No text of prompts or answers is in a trace, and so none in a picture.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app.serving.strategy_trace import END, START

Edge = tuple[str, str, str]

LABELS = {START: "request", END: "answer"}
CHARACTER, LINE, PADDING = 7.0, 16, 12
COLUMN_GAP, ROW_GAP, LANE = 72, 26, 18
TAKEN, IDLE, FAILED, TEXT, FAINT = "#6d4aff", "#c5c8d4", "#c0392b", "#23252f", "#8a8f9f"


def mermaid(trace: Mapping[str, Any]) -> str:
    """The graph as Mermaid's flowchart; the nodes and edges of the path are marked."""
    nodes, edges, path = _graph(trace)
    visited = _visited(path)
    ids = {name: f"n{index}" for index, name in enumerate(nodes)}
    lines = ["flowchart LR"]
    for name in nodes:
        text = "<br/>".join(_quoted(line) for line in _lines(name, trace))
        shape = f'(["{text}"])' if name in LABELS else f'["{text}"]'
        lines.append(f"  {ids[name]}{shape}{':::taken' if name in visited else ''}")
    marked = []
    for index, (source, target, label) in enumerate(edges):
        word = f"|{_quoted(label)}|" if label and label != target else ""
        lines.append(f"  {ids[source]} -->{word} {ids[target]}")
        if (source, target) in path:
            marked.append(str(index))
    lines.append(f"  classDef taken stroke:{TAKEN},stroke-width:2px")
    if marked:
        lines.append(f"  linkStyle {','.join(marked)} stroke:{TAKEN},stroke-width:2px")
    return "\n".join(lines) + "\n"


def svg(trace: Mapping[str, Any]) -> str:
    """The graph as a picture of its own: no fonts, scripts or addresses from elsewhere."""
    nodes, edges, path = _graph(trace)
    visited = _visited(path)
    lines = {name: _lines(name, trace) for name in nodes}
    column = _columns(nodes, edges)
    # Edges past a column go over everything, each in a lane of its own.
    over = sorted(
        (edge for edge in edges if column[edge[1]] - column[edge[0]] > 1),
        key=lambda edge: column[edge[1]] - column[edge[0]],
    )
    top = PADDING + (len(over) * LANE + 8 if over else 0)
    boxes = _layout(nodes, column, lines, top)
    width = max(x + w for x, _, w, _ in boxes.values()) + PADDING
    lowest = max(y + h for _, y, _, h in boxes.values())
    back = any(boxes[target][0] <= boxes[source][0] for source, target, _ in edges)
    height = lowest + PADDING + (30 if back else 0)
    lanes = {edge: top - 8 - (index + 1) * LANE + 10 for index, edge in enumerate(over)}
    title = escape(f"{trace.get('strategy', 'strategy')}: the path taken")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{title}" '
        'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">',
        f"<title>{title}</title>",
        "<defs>",
        *(_arrow(name, colour) for name, colour in (("taken", TAKEN), ("idle", IDLE))),
        "</defs>",
    ]
    for edge in sorted(edges, key=lambda each: (each[0], each[1]) in path):
        parts.append(_edge(edge, boxes, (edge[0], edge[1]) in path, lowest, lanes.get(edge)))
    failed = {step["node"] for step in trace.get("steps", []) if step.get("status") == "failed"}
    for name in nodes:
        colour = FAILED if name in failed else TAKEN if name in visited else IDLE
        parts.append(_box(name, boxes[name], lines[name], colour, name in visited))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _graph(trace: Mapping[str, Any]) -> tuple[list[str], list[Edge], set[tuple[str, str]]]:
    graph = trace.get("graph") or {}
    nodes = [str(name) for name in graph.get("nodes", [])] or [START, END]
    edges: list[Edge] = []
    for source, target, label in graph.get("edges", []):
        if source in nodes and target in nodes:
            edges.append((source, target, label))
    path = {(str(edge[0]), str(edge[1])) for edge in graph.get("path", [])}
    return nodes, edges, path


def _visited(path: set[tuple[str, str]]) -> set[str]:
    return {name for edge in path for name in edge}


def _lines(name: str, trace: Mapping[str, Any]) -> list[str]:
    """What a node's box says: its name, and the calls that were made in it. A call outside of the graph, as
    its last resort, led to the answer."""
    lines = [LABELS.get(name) or name.replace("_", " ")]
    for step in trace.get("steps", []):
        if (step.get("node") or END) != name:
            continue
        said = f"{step['expert']} · {step['completion_tokens']} tokens"
        if step.get("ms") is not None:
            said += f" · {step['ms']:.0f} ms"
        if step.get("confidence") is not None:
            said += f" · {step['confidence']:.2f}"
        if step.get("status") not in {"ok", "running"}:
            said += f" · {step['status']}"
        lines.append(said)
    return lines


def _layout(
    nodes: Sequence[str], column: Mapping[str, int], lines: Mapping[str, Sequence[str]], top: float
) -> dict[str, tuple[float, float, float, float]]:
    """Boxes as (x, y, width, height), none higher than `top`."""
    by_column: dict[int, list[str]] = {}
    for name in nodes:
        by_column.setdefault(column[name], []).append(name)
    sizes = {
        name: (
            max(len(line) for line in lines[name]) * CHARACTER + 2 * PADDING,
            len(lines[name]) * LINE + PADDING,
        )
        for name in nodes
    }
    heights = {
        index: sum(sizes[name][1] + ROW_GAP for name in names) - ROW_GAP for index, names in by_column.items()
    }
    tallest = max(heights.values())
    boxes: dict[str, tuple[float, float, float, float]] = {}
    x = float(PADDING)
    for index in sorted(by_column):
        y = top + (tallest - heights[index]) / 2
        for name in by_column[index]:
            boxes[name] = (x, y, *sizes[name])
            y += sizes[name][1] + ROW_GAP
        x += max(sizes[name][0] for name in by_column[index]) + COLUMN_GAP
    return boxes


def _columns(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each node that does not go in a circle."""
    column = {name: 0 for name in nodes}

    def visit(name: str, depth: int, above: frozenset[str]) -> None:
        if depth > column[name] or depth == 0:
            column[name] = max(column[name], depth)
            for source, target, _ in edges:
                if source == name and target not in above and len(above) < len(nodes):
                    visit(target, column[name] + 1, above | {name})

    if START in column:
        visit(START, 0, frozenset())
    if END in column:
        column[END] = max([column[END], *(depth + 1 for name, depth in column.items() if name != END)])
    return column


def _edge(
    edge: Edge,
    boxes: Mapping[str, tuple[float, float, float, float]],
    taken: bool,
    lowest: float,
    lane: float | None,
) -> str:
    source, target, label = edge
    x1, y1, w1, h1 = boxes[source]
    x2, y2, w2, h2 = boxes[target]
    kind, colour = ("taken", TAKEN) if taken else ("idle", IDLE)
    if lane is not None:
        left, right = x1 + w1 - 16, x2 + 14
        curve = (
            f"M{left:.0f},{y1:.0f} V{lane + 8:.0f} Q{left:.0f},{lane:.0f} {left + 8:.0f},{lane:.0f} "
            f"H{right - 8:.0f} Q{right:.0f},{lane:.0f} {right:.0f},{lane + 8:.0f} V{y2 - 7:.0f}"
        )
        middle = (left + 16, lane - 3)
    elif x2 > x1:
        start, end = (x1 + w1, y1 + h1 / 2), (x2 - 7, y2 + h2 / 2)
        bend = max(24.0, (end[0] - start[0]) / 2)
        curve = (
            f"M{start[0]:.0f},{start[1]:.0f} C{start[0] + bend:.0f},{start[1]:.0f} "
            f"{end[0] - bend:.0f},{end[1]:.0f} {end[0]:.0f},{end[1]:.0f}"
        )
        middle = (start[0] + 10, (start[1] + end[1]) / 2 + (-5 if end[1] <= start[1] else 12))
    else:
        start, end = (x1 + w1 / 2, y1 + h1), (x2 + w2 / 2, y2 + h2 + 7)
        low = lowest + 26
        curve = (
            f"M{start[0]:.0f},{start[1]:.0f} C{start[0]:.0f},{low:.0f} "
            f"{end[0]:.0f},{low:.0f} {end[0]:.0f},{end[1]:.0f}"
        )
        middle = ((start[0] + end[0]) / 2, low - 8)
    path = (
        f'<path d="{curve}" fill="none" stroke="{colour}" stroke-width="{2 if taken else 1.2}" '
        f'marker-end="url(#{kind})"/>'
    )
    if not label or label == target:
        return path
    words = escape(label.replace("_", " "))
    return path + (
        f'<text x="{middle[0]:.0f}" y="{middle[1]:.0f}" font-size="10" '
        f'fill="{TAKEN if taken else FAINT}">{words}</text>'
    )


def _box(
    name: str, box: tuple[float, float, float, float], lines: Sequence[str], colour: str, taken: bool
) -> str:
    x, y, width, height = box
    radius = height / 2 if name in LABELS else 6
    parts = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="{radius:.0f}" '
        f'fill="#ffffff" stroke="{colour}" stroke-width="{2 if taken else 1.2}"/>'
    ]
    for index, line in enumerate(lines):
        fill = FAINT if not taken else TEXT
        weight = ' font-weight="600"' if index == 0 else ""
        parts.append(
            f'<text x="{x + PADDING:.0f}" y="{y + 18 + index * LINE:.0f}" fill="{fill}"{weight}>'
            f"{escape(line)}</text>"
        )
    return "".join(parts)


def _arrow(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def _quoted(text: str) -> str:
    """Text that cannot end Mermaid's quotes or begin its syntax."""
    return escape(text.replace("_", " "), quote=True).replace("|", "&#124;")
