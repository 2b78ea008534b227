"""Baselines: each puts its prompt in front, and the best single instruction keeps to its calls."""

import pytest

from benchmarks.mixtures.baseline_prompts import (
    MixturePrompt,
    NearestDemos,
    PromptBaseline,
    best_instruction,
    random_demos,
    zero_shot,
)
from prompts.mixture.demos import DemoError
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.pool import DemoPool, MixtureError
from tests.unit.prompts.mixture.test_mixture import EAST, small_mixture
from tests.unit.prompts.mixture.world import COUNT, MIRROR, ToyModel, encode, toy_demos

DEMOS = toy_demos(40)
ASKED = {"role": "user", "content": "mirror abc"}
HERE = encode(["mirror abc"])[0]


def test_zero_shot_is_the_request_alone() -> None:
    assert zero_shot().messages_for("mirror abc", HERE) == [ASKED]


def test_random_demos_are_drawn_once_by_the_seed() -> None:
    one, same, other = (random_demos(DEMOS, 5, seed).messages_for("mirror abc", HERE) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 11 and one[-1] == ASKED


def test_nearest_demos_are_those_like_the_request_the_nearest_last() -> None:
    vectors = encode([demo.input for demo in DEMOS])
    nearest = NearestDemos(DemoPool(DEMOS, vectors), count=3)
    *shown, asked = nearest.messages_for(DEMOS[5].input, vectors[5])
    assert asked["content"] == DEMOS[5].input == shown[-2]["content"]
    assert all(message["content"].startswith("mirror") for message in shown[::2])
    assert len(shown) == 6


def test_a_mixture_stands_behind_the_same_method() -> None:
    baseline: PromptBaseline = MixturePrompt(small_mixture())
    assert [each["content"] for each in baseline.messages_for("x", EAST)] == ["Go east.", "a", "b", "x"]


@pytest.mark.parametrize("calls", [120, 300, 1000])
async def test_the_best_instruction_is_found_within_its_calls(calls: int) -> None:
    mirrors = [demo for demo in toy_demos(160) if demo.input.startswith("mirror")]
    written = [*(f"Try the method of {name}." for name in "abcdefgh"), MIRROR, COUNT]
    model = ToyModel(written=written)
    found, bill = await best_instruction(mirrors, BuildConfig(scoring_samples=5), model, calls)
    assert found.prompt.instruction == MIRROR and not found.prompt.demos
    assert len(model.seen) == bill.calls <= calls


async def test_calls_are_spent_while_new_instructions_come() -> None:
    model = ToyModel(written=[f"Try it {number} times over." for number in range(500)])
    _, bill = await best_instruction(toy_demos(100), BuildConfig(), model, 900)
    assert bill.calls > 800


async def test_without_a_good_instruction_the_plain_prompt_wins() -> None:
    found, _ = await best_instruction(DEMOS, BuildConfig(), ToyModel(written=("Do nothing now.",)), 300)
    assert found.prompt.plain


async def test_too_few_calls_or_demos_are_refused() -> None:
    with pytest.raises(MixtureError, match="10 calls"):
        await best_instruction(DEMOS, BuildConfig(), ToyModel(), 10)
    with pytest.raises(DemoError, match="too few"):
        await best_instruction(DEMOS[:3], BuildConfig(), ToyModel(), 300)
