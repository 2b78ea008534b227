"""Contestants as they are named on a command line, and what their kept answers depend on."""

from typing import Any

import pytest

from app.serving.decision_document import expert_document
from client import ExpertInfo
from eval.engine.contestants import Contestant, ContestantError, expert_contestant, parse_contestants
from eval.service import earlier_identity
from experts.expert import Expert, LocalServer


def test_a_bare_name_is_a_model_of_the_service() -> None:
    (coterie, expert) = parse_contestants("coterie, qwen-coder", api="http://here:1", api_key="secret")

    assert (coterie.server, coterie.model, coterie.routed) == ("http://here:1/v1", "coterie", True)
    assert (expert.model, expert.api_key, expert.routed) == ("qwen-coder", "secret", False)


def test_a_name_with_a_url_is_a_model_of_another_server_which_never_gets_the_services_key() -> None:
    (same, other) = parse_contestants(
        "gpt=https://there/v1,short=https://there/v1#gpt-long", api_key="secret"
    )

    assert (same.server, same.model, same.api_key) == ("https://there/v1", "gpt", None)
    assert (other.name, other.model) == ("short", "gpt-long")


def test_a_label_may_stand_for_a_model_of_the_service() -> None:
    (labelled,) = parse_contestants("mine=#coterie/coding", api="http://here:1/v1", api_key="secret")

    assert (labelled.name, labelled.server) == ("mine", "http://here:1/v1")
    assert (labelled.model, labelled.routed, labelled.api_key) == ("coterie/coding", True, "secret")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no contestant is named"),
        ("a,a", "named twice"),
        ("=http://there", "write NAME"),
        ("a=ftp://there", "is no address"),
        ("two words", "write NAME"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ContestantError, match=says):
        parse_contestants(text)


def test_a_key_shows_up_nowhere() -> None:
    contestant = Contestant("a", "http://here/v1", "a", api_key="secret")

    assert "secret" not in repr(contestant)
    assert "secret" not in str(contestant.document())


FACTS: dict[str, Any] = {
    "endpoint": "http://127.0.0.1:8101/v1",
    "model": "m",
    "params_b": 1,
    "context_length": 4096,
    "sampling": {"temperature": 0.2},
}
INT8 = LocalServer(source="m", port=8101, max_model_len=4096, weights="int8")


def contestant(**changes: Any) -> Contestant:
    """`arm` over `base`; both are as FACTS but for the arm's `changes`."""
    base = Expert(**FACTS, name="base")
    arm = Expert(**{**FACTS, "name": "arm", "base": "base", **changes})
    listed = [ExpertInfo.model_validate(expert_document(each, None)) for each in (base, arm)]
    return expert_contestant(listed[1], listed, "http://api/v1")


@pytest.mark.parametrize(
    ("changes", "same_sampling"),
    [
        ({"sampling": {"temperature": 0.7}}, False),
        ({"sampling": {"temperature": 0.2, "reasoning_effort": "low"}}, False),
        ({"sampling": {"temperature": 0.2, "chat_template_kwargs": {"enable_thinking": False}}}, False),
        ({"sampling": {"temperature": 0.2, "n": 3}}, False),
        ({"sampling": {"temperature": 0.2, "n": 3}, "select": "logprob"}, False),
        ({"system_prompt": "Be brief."}, True),
        ({"system_prompt": "Be long."}, True),
        ({"local": INT8}, True),
    ],
)
def test_kept_answers_are_another_s_once_an_arm_is_asked_in_another_way(
    changes: dict[str, Any], same_sampling: bool
) -> None:
    plain, changed = contestant(), contestant(**changes)
    assert plain.identity != changed.identity
    # Earlier versions knew no settings; what they kept counts where it cannot be another's.
    assert changed.earlier == (plain.earlier if same_sampling else None)
    assert "Be " not in str(changed.identity)


def test_an_unset_way_to_select_is_the_majority() -> None:
    sampling = {"n": 3}
    assert contestant(sampling=sampling) == contestant(sampling=sampling, select="majority")
    assert contestant(sampling=sampling) != contestant(sampling=sampling, select="logprob")


def test_a_server_that_tells_no_settings_has_the_identity_that_it_had() -> None:
    info = ExpertInfo(name="m", params_b=1)
    found = expert_contestant(info, [info], "http://there/v1")
    assert (found.identity, found.earlier) == ({"expert": earlier_identity(info)}, None)
