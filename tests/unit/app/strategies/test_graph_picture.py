"""The picture of a graph with the path taken."""

from typing import Any
from xml.etree import ElementTree

import pytest

from app.serving.strategy_trace import Shape, Trace
from app.strategies.graph_picture import mermaid, svg
from app.strategies.strategy_registry import OWN, Catalogue


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


def test_the_picture_is_xml_whatever_the_names() -> None:
    root = ElementTree.fromstring(svg(a_trace()))
    assert root.tag.endswith("svg")
    text = "".join(root.itertext())
    assert "<small> & co" in text
    assert "0.25" in text


def test_a_call_after_the_graph_is_drawn_at_the_answer() -> None:
    trace = a_trace()
    trace["steps"].append(trace["steps"][0] | {"node": "", "expert": "rescuer", "purpose": "last resort"})
    [box] = [line for line in mermaid(trace).splitlines() if "rescuer" in line]
    assert "answer" in box
    assert "rescuer" in "".join(ElementTree.fromstring(svg(trace)).itertext())


def test_mermaid_marks_the_edges_of_the_path() -> None:
    text = mermaid(a_trace())
    assert "linkStyle 0,2,3 " in text
    assert "<small>" not in text


@pytest.mark.parametrize("broken", [{"graph": {}}, {"graph": None}, {"steps": []}])
def test_an_old_or_odd_trace_still_draws(broken: dict[str, Any]) -> None:
    ElementTree.fromstring(svg(a_trace(**broken)))
    assert mermaid(a_trace(**broken)).startswith("flowchart")


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_strategys_graph_draws_with_all_its_nodes(name: str) -> None:
    shape = Catalogue().compiled(name).shape
    document = Trace(name, shape, {}).document()
    text = "".join(ElementTree.fromstring(svg(document)).itertext())
    for node in shape.nodes:
        if not node.startswith("__"):
            assert node.replace("_", " ") in text
