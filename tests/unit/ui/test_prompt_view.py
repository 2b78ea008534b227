"""What stood before a request, in words."""

from typing import Any

import pytest

from client import RoutingDecision
from ui.prompt_view import prompt_lines

MIXTURE = {"name": "dates", "digest": "0123456789abcdef", "region": 2, "distance": 0.4142}
IDENTITY = {"per": "category", "category": "law"}


def lines(**fields: Any) -> list[str]:
    return prompt_lines(RoutingDecision(id="d", expert="e", reason="matched", **fields))


def test_nothing_is_said_of_a_request_that_went_out_as_it_came() -> None:
    assert lines() == []
    assert lines(prompt=None, mixture=None, identity=None) == []


def test_each_thing_put_in_front_has_its_line() -> None:
    prompt = {"name": "law", "version": 3, "hash": "abc"}
    first, second, third = lines(prompt=prompt, mixture=MIXTURE, identity=IDENTITY)
    assert all(word in first for word in ("**law**", "3", "abc"))
    assert all(word in second for word in ("**dates**", "region 2", "0.41", "0123456789ab"))
    assert "law" in third


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region": None, "fallback": True}, "fallback"),
        ({"dropped": "demos"}, "examples"),
        ({"dropped": "prompt"}, "prompt"),
    ],
)
def test_a_mixtures_fallbacks_are_said(change: dict[str, Any], said: str) -> None:
    (line,) = lines(mixture={**MIXTURE, **change})
    assert said in line


def test_an_identity_says_why_there_is_none_and_what_it_cost() -> None:
    (line,) = lines(identity={**IDENTITY, "skipped": "not_kept"})
    assert "none" in line
    cost = {"per": "request", "calls": 1, "prompt_tokens": 1200, "completion_tokens": 60, "ms": 2500}
    (line,) = lines(identity={**IDENTITY, **cost})
    assert "(1,260 tokens, 2.5 s)" in line


def test_a_reason_that_a_newer_api_gives_is_shown_as_it_is() -> None:
    (line,) = lines(identity={**IDENTITY, "skipped": "full_moon"})
    assert "full" in line


@pytest.mark.parametrize(
    ("answered", "agreed", "said"),
    [(5, 0.8, ("Samples: 5,", "majority", "80%")), (3, None, ("Samples: 5, 2 of them failed",))],
)
def test_several_samples_have_a_line(answered: int, agreed: float | None, said: tuple[str, ...]) -> None:
    samples = {"asked": 5, "answered": answered, "selected": "majority", "agreed": agreed}
    (line,) = lines(samples=samples)
    assert all(each in line for each in said)
    assert ("final answer" in line) is (agreed is not None)
