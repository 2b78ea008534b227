"""How long answers may be, and what fits a context."""

import pytest

from prompts.mixture.call_budget import Asking
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import FewShotPrompt
from prompts.mixture.prompt_scoring import PromptScorer, answer_tokens
from tests.unit.prompts.mixture.world import ToyModel


def test_one_long_output_leaves_half_of_the_context() -> None:
    demos = [Demo("a", "short"), Demo("b", "long " * 10_000)]
    assert answer_tokens(demos, BuildConfig(context_tokens=2048)) == 1024
    assert answer_tokens(demos[:1], BuildConfig(context_tokens=2048)) < 32


def test_an_answer_in_a_script_with_a_token_a_byte_has_room() -> None:
    assert answer_tokens([Demo("a", "逆" * 40)], BuildConfig()) >= 120


@pytest.mark.parametrize(("letter", "count"), [("x", 1200), ("名", 1200)])
def test_texts_of_many_bytes_take_more_of_a_context(letter: str, count: int) -> None:
    """As serving estimates it: demos that it would drop again are not worth building with."""
    config = BuildConfig(context_tokens=1024)
    scorer = PromptScorer(config, Asking(ToyModel(), concurrency=1, max_calls=9), 16)
    assert scorer.fits(FewShotPrompt(demos=(Demo(letter * count, "y"),)), "z" * 10) is (letter == "x")
