"""The picture of a graph with the path taken."""

from typing import Any

import pytest

from app.serving.strategy_trace import Shape, Trace
from app.strategies.strategy_registry import OWN, Catalogue
from base.strategy_graph import dot, mermaid


def a_trace(**changes: Any) -> dict[str, Any]:
    trace = Trace(
        "cascade",
        Shape(
            ("__start__", "weak", "strong", "__end__"),
            (
                ("__start__", "weak", ""),
                ("weak", "__end__", "accepted"),
                ("weak", "strong", "refused"),
                ("strong", "__end__", ""),
            ),
        ),
        {},
    )
    step = trace.begin("weak", "<small> & co", "answer", 1.0)
    step.status, step.seconds, step.confidence = "ok", 0.5, 0.25
    trace.visited += [(1, "weak"), (2, "strong")]
    trace.ended_s = 1.0
    return trace.document() | changes


def test_the_path_is_what_was_visited_step_by_step() -> None:
    assert a_trace()["graph"]["path"] == [["__start__", "weak"], ["weak", "strong"], ["strong", "__end__"]]


def test_names_cannot_end_their_quotes() -> None:
    trace = a_trace()
    trace["steps"][0]["expert"] = 'sm"all\\ <b>|'
    assert 'sm\\"all\\\\ <b>|' in dot(trace)
    assert "sm&quot;all\\ &lt;b&gt;&#124;" in mermaid(trace)


def test_dot_colours_the_path() -> None:
    text = dot(a_trace())
    assert 'n1 -> n3 [label="accepted" color="#b9bdcb"' in text
    assert 'n1 -> n2 [label="refused" color="#6d4aff"' in text
    assert "0.25" in text


def test_a_call_after_the_graph_is_drawn_at_the_answer() -> None:
    trace = a_trace()
    trace["steps"].append(trace["steps"][0] | {"node": "", "expert": "rescuer", "purpose": "last resort"})
    [box] = [line for line in mermaid(trace).splitlines() if "rescuer" in line]
    assert "answer" in box
    assert "rescuer" in dot(trace)


def test_mermaid_marks_the_edges_of_the_path() -> None:
    text = mermaid(a_trace())
    assert "linkStyle 0,2,3 " in text
    assert "<small>" not in text


@pytest.mark.parametrize("broken", [{"graph": {}}, {"graph": None}, {"steps": []}])
def test_an_old_or_odd_trace_still_draws(broken: dict[str, Any]) -> None:
    assert dot(a_trace(**broken)).startswith("digraph")
    assert mermaid(a_trace(**broken)).startswith("flowchart")


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_strategys_graph_draws_with_all_its_nodes(name: str) -> None:
    shape = Catalogue().compiled(name).shape
    document = Trace(name, shape, {}).document()
    text = dot(document)
    for node in shape.nodes:
        if not node.startswith("__"):
            assert node.replace("_", " ") in text
