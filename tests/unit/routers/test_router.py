"""The router embeds what has to be read, and nothing that need not be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routers.classifiers import CentroidClassifier
from routers.composition import Composition, CompositionError
from routers.conversation import LATEST_CHARACTERS
from routers.decide import NoExpertFits
from routers.decision import Reason
from routers.features import features_of
from routers.policy import Policy, Rule
from routers.request import Turn
from routers.router import Router
from routers.state_cache import CachedStates
from tests.unit.routers.world import BagOfWords, composition, request

SAID = ("python bug in my loop", "sue my landlord in court", "hello how are you")


def composed() -> Composition:
    """Knows one prompt of each category."""
    features = features_of(BagOfWords(), SAID)
    stage1 = CentroidClassifier.fit(np.repeat(features, 2, axis=0), np.repeat(np.arange(3), 2), 3)
    stage1 = CentroidClassifier(stage1.centroids, np.full((1, 3), 0.1, dtype=np.float32))
    prototypes = features[:, : BagOfWords.dimension]
    return composition(name="centroid", stage1=stage1, prototypes=prototypes)


def saying(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


def test_a_request_is_embedded_and_decided() -> None:
    encoder = BagOfWords()
    decision = Router(encoder, composed()).route(request(turns=saying("a bug in my python loop")))
    assert (decision.category, decision.expert, decision.reason) == ("coding", "coder", Reason.MATCHED)
    assert encoder.encoded == ["a bug in my python loop"]


def test_what_is_pasted_is_read_where_the_words_are_unclear() -> None:
    encoder = BagOfWords()
    pasted = "<file path='a.py'>a bug in my python loop</file>"
    decision = Router(encoder, composed()).route(request(turns=saying(f"{pasted}\nqqq")))
    assert (decision.category, decision.reason) == ("coding", Reason.MATCHED)
    assert encoder.encoded == ["qqq", "a bug in my python loop\nqqq"]
    clear = Router(encoder, composed()).route(request(turns=saying(f"{pasted}\nsue my landlord in court")))
    assert clear.category == "law"
    assert encoder.encoded[2:] == ["sue my landlord in court"]


def test_a_request_without_text_is_unclear_and_not_encoded() -> None:
    encoder = BagOfWords()
    for turns in (
        saying(""),
        saying(" \n"),
        saying("\u200b\ufeff"),
        (Turn("system", "be kind"), Turn("user", "")),
    ):
        decision = Router(encoder, composed()).route(request(turns=turns))
        assert (decision.category, decision.probability, decision.reason) == (None, None, Reason.UNCERTAIN)
        assert decision.expert == "large"
    vision = Router(encoder, composed())
    decision = vision.route(request(turns=saying(""), exclude=frozenset({"large"})))
    assert decision.reason is Reason.FILTERED
    assert encoder.encoded == []


@pytest.mark.parametrize("pin", [{"pinned_expert": "small"}, {"pinned_category": "law"}])
def test_a_pinned_request_is_not_embedded(pin: dict[str, Any]) -> None:
    encoder = BagOfWords()
    assert Router(encoder, composed()).route(request(**pin)).reason is Reason.PINNED
    assert encoder.encoded == []


def test_a_request_that_nobody_can_take_is_refused_before_it_is_read() -> None:
    encoder = BagOfWords()
    with pytest.raises(NoExpertFits, match="too long") as caught:
        Router(encoder, composed()).route(request(prompt_tokens=1_000_000))
    assert caught.value.code == "context_length_exceeded"
    assert encoder.encoded == []


def test_a_rule_that_decides_leaves_the_request_unread() -> None:
    encoder = BagOfWords()
    policy = Policy(generalist="large", rules=(Rule("r", keywords=("hello",), expert="small"),))
    assert Router(encoder, replace(composed(), policy=policy)).route(request()).reason is Reason.RULE
    assert encoder.encoded == []


def test_a_request_that_brings_its_features_is_not_embedded_again() -> None:
    encoder = BagOfWords()
    features = features_of(BagOfWords(), [SAID[1]])[0]
    assert Router(encoder, composed()).route(request(features)).category == "law"
    assert encoder.encoded == []


def test_the_conversation_is_read_as_the_policy_says() -> None:
    encoder = BagOfWords()
    turns = (*saying("first"), *saying("second"), *saying("third"))
    two = Policy(generalist="large", recent_turns=2)
    Router(encoder, replace(composed(), policy=two)).route(request(turns=turns))
    assert encoder.encoded == ["second\nthird"]


def test_the_order_of_requests_makes_no_difference() -> None:
    router = Router(BagOfWords(), composed())
    asked = [request(id=text, turns=saying(text)) for text in (*SAID, "", "python court")]
    forwards = [router.route(each) for each in asked]
    assert [router.route(each) for each in reversed(asked)] == forwards[::-1]


def test_an_encoder_that_the_composition_was_not_fitted_with_is_refused() -> None:
    other = replace(composed(), encoder_revision="2")
    with pytest.raises(CompositionError, match=r"bag-of-words 2,.* bag-of-"):
        Router(BagOfWords(), other)


def test_a_decision_on_a_sample_of_an_overlong_turn_says_so() -> None:
    router = Router(BagOfWords(), composed())
    whole = "bug " * (LATEST_CHARACTERS // 4)
    assert "sample" not in router.route(request(turns=saying(whole))).detail
    longer = router.route(request(turns=saying(whole + "loop")))
    assert "48,000 of its 48,004" in longer.detail


def test_the_results_of_tools_do_not_make_the_same_request_be_read_again() -> None:
    encoder = BagOfWords()
    router = Router(CachedStates(encoder, 4), composed())
    asked = saying("a bug in my python loop")
    loop = (asked, (*asked, Turn("assistant", ""), Turn("tool", "3 tests failed")))
    found = [router.route(request(turns=turns)) for turns in loop]
    assert encoder.encoded == ["a bug in my python loop"]
    assert found == [Router(BagOfWords(), composed()).route(request(turns=turns)) for turns in loop]
