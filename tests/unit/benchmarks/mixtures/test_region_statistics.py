"""The geometry of regions says what it says it says."""

import numpy as np

from benchmarks.mixtures.region_statistics import geometry
from benchmarks.mixtures.task import Example, Split
from prompts.mixture.mixture import Matrix
from tests.unit.benchmarks.mixtures.test_mixture_run import encode

WORDS = "anchor basket candle desert engine feather garden hammer island jacket kettle ladder".split()  # noqa: SIM905


def split(outputs: tuple[str, str]) -> Split:
    """Two kinds of input that share no word; each kind has one of `outputs`."""
    kinds = ("please say the plural now of", "which colour has this thing called")
    examples = [
        Example(f"{asked} {word}", outputs[number], str(number))
        for word in WORDS
        for number, asked in enumerate(kinds)
    ]
    return Split(tuple(examples[:16]), tuple(examples[16:]))


def strangers() -> Matrix:
    return encode(["entirely other people sing here", "numbers never sleep so well"])


def test_kinds_that_share_no_word_are_kept_apart_and_strangers_out() -> None:
    found = geometry(split(("yes", "no")), strangers(), encode)
    assert found.regions == 2
    assert found.same_kind == 1.0
    assert found.tells_answers == 1.0
    assert found.strangers_near == 0.0
    assert found.own_far < 0.5


def test_a_demo_itself_is_no_stranger() -> None:
    asked = split(("yes", "no"))
    found = geometry(asked, encode([example.input for example in asked.train]), encode)
    assert found.strangers_near == 1.0
    assert np.isclose(geometry(asked, strangers(), encode).own_far, found.own_far)
