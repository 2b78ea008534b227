"""A strategy's steps in the console."""

from typing import Any

from streamlit.testing.v1 import AppTest

from client import RoutingDecision

TRACE: dict[str, Any] = {
    "strategy": "cascade",
    "steps": [
        {"node": "weak", "expert": 'sm"all', "purpose": "weak answer", "status": "failed", "ms": 12.5},
        {"node": "strong", "expert": "large", "status": "ok", "completion_tokens": 7, "confidence": 0.5},
    ],
    "notes": ["The confidence was low."],
    "degraded": ["small failed."],
    "totals": {"calls": 2, "ms": 30.0, "cost": 0.0},
    "graph": {
        "nodes": ["__start__", "weak", "strong", "__end__"],
        "edges": [["__start__", "weak", ""], ["weak", "strong", "refused"], ["weak", "__end__", "accepted"]],
        "path": [["__start__", "weak"], ["weak", "strong"]],
    },
}


def test_a_decision_without_a_trace_is_that_of_an_older_api() -> None:
    decision = RoutingDecision.model_validate({"id": "d", "expert": "e", "reason": "matched"})
    assert (decision.trace, decision.strategy_source) == (None, "default")


def page(trace: dict[str, object]) -> None:
    from client import RoutingDecision
    from ui.decision_view import show_decision

    document = {"id": "d", "expert": "large", "reason": "matched", "strategy": "cascade", "trace": trace}
    show_decision(RoutingDecision.model_validate({**document, "strategy_detail": "Asked."}), {})


def test_the_decision_shows_its_steps_and_what_went_wrong() -> None:
    shown = AppTest.from_function(page, args=(TRACE,)).run()
    assert not shown.exception
    text = " ".join(each.value for each in shown.markdown)
    assert "The confidence was low" in text
    assert "small failed" in text
    assert "Asked" in text
    assert len(shown.dataframe[0].value) == 2
