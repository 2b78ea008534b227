"""What a client says in `routing` reaches the decision as it was said, within its bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import ServiceError
from app.serving.chat_body import ChatBody, ChatRequest
from app.serving.request_parsing import Names, routing_request
from routers.request import Request

EXPERTS, CATEGORIES = ("coder", "talker"), ("coding", "smalltalk")
# The registry may hold more than the composition ranks.
NAMES = Names((*EXPERTS, "spare"), EXPERTS, CATEGORIES)


def parsed(routing: Any, model: str = "coterie") -> Request:
    document = {"model": model, "messages": [{"role": "user", "content": "hi"}], "routing": routing}
    chat = ChatRequest(ChatBody.model_validate(document), document)
    return routing_request(chat, NAMES, decision_id="r")


@given(
    exclude=st.lists(st.sampled_from(EXPERTS)),
    boost=st.dictionaries(st.sampled_from(EXPERTS), st.floats(-10, 10)),
)
def test_exclude_and_boost_arrive_as_they_were_sent(exclude: list[str], boost: dict[str, float]) -> None:
    request = parsed({"exclude": exclude, "boost": boost})
    assert request.exclude == frozenset(exclude)
    assert dict(request.boost) == boost


@pytest.mark.parametrize(
    "boost",
    [{"coder": 10.1}, {"coder": -10.1}, {"coder": float("nan")}, {"coder": float("inf")}, {"coder": "x"}],
)
def test_a_boost_outside_its_bounds_is_refused(boost: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parsed({"boost": boost})


@pytest.mark.parametrize(
    ("routing", "param"),
    [
        ({"exclude": ["spare"]}, "routing.exclude"),
        ({"boost": {"spare": 0.1}}, "routing.boost"),
        ({"expert": "nobody"}, "routing.expert"),
        ({"category": "cooking"}, "routing.category"),
    ],
)
def test_a_name_that_the_router_does_not_rank_is_refused_by_field(routing: Any, param: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parsed(routing)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_pin_in_routing_goes_before_the_model() -> None:
    assert parsed({"expert": "talker"}, model="coder").pinned_expert == "talker"
    request = parsed({"category": "coding"}, model="coder")
    assert (request.pinned_expert, request.pinned_category) == (None, "coding")
    assert parsed({"expert": "spare"}).pinned_expert == "spare"


def test_pinning_an_expert_and_a_category_at_once_is_refused() -> None:
    with pytest.raises(ValidationError, match="not both"):
        parsed({"expert": "coder", "category": "coding"})


def test_a_field_of_routing_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        parsed({"exclud": ["coder"]})
