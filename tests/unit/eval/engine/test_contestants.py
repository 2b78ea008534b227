"""Contestants as they are named on a command line."""

import pytest

from eval.engine.contestants import Contestant, ContestantError, parse_contestants


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
