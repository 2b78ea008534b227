"""A whole build on a toy model: what comes out, what it costs, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.reply import Reply
from prompts.mixture.artefact import load_mixture, save_mixture
from prompts.mixture.build import MAX_POOL, build
from prompts.mixture.call_budget import Ask, PrefixCache
from prompts.mixture.demos import Demo, DemoError
from prompts.mixture.held_out_evidence import wilson
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix, Mixture, MixtureError
from tests.unit.prompts.mixture.world import (
    COUNT,
    MIRROR,
    Remembering,
    ToyModel,
    encode,
    follow,
    toy_demos,
)

MANY = [f"Do it in the manner of {name}." for name in "abcdefghijklmnopqrstuvwxyz"]


async def built(
    demos: Sequence[Demo] | None = None, ask: Ask | None = None, **hyperparameters: Any
) -> Mixture:
    config = BuildConfig.model_validate(hyperparameters)
    return await build(toy_demos() if demos is None else demos, config, ask or ToyModel(), encode)


async def accuracy(mixture: Mixture, demos: Sequence[Demo]) -> float:
    vectors = encode([demo.input for demo in demos])
    right = 0
    for demo, vector in zip(demos, vectors, strict=True):
        choice = mixture.choose(vector)
        messages = mixture.messages(choice, [{"role": "user", "content": demo.input}])
        right += follow(messages) == demo.output
    return right / len(demos)


async def test_a_build_finds_the_prompts_that_the_task_needs() -> None:
    mixture = await built()
    assert len(mixture.regions) >= 2
    assert await accuracy(mixture, toy_demos(160)[100:]) > 0.9
    measured = mixture.manifest["held_out"]["all"]
    assert measured["mixture"]["accuracy"] > 0.9 > measured["plain"]["accuracy"]


async def test_no_one_instruction_is_taken_everywhere_where_none_is_good_everywhere() -> None:
    mixture = await built(demo_counts=(), shared_demos=0, nearest_counts=())
    instructions = {region.instruction for region in mixture.regions}
    assert instructions == {MIRROR, COUNT}


async def test_the_same_seed_builds_the_same_mixture() -> None:
    one, same = [await built() for _ in range(2)]
    other = await built(seed=5)
    assert one.digest == same.digest != other.digest
    unbilled = ("bill",)
    assert {k: v for k, v in one.manifest.items() if k not in unbilled} == {
        k: v for k, v in same.manifest.items() if k not in unbilled
    }


async def test_it_does_not_matter_which_answer_comes_first() -> None:
    one, other = await built(concurrency=1), await built(concurrency=64)
    assert one.digest == other.digest


@pytest.mark.parametrize("written", [MANY, (), ("Do this now.",)])
async def test_a_hundred_demos_take_at_most_1500_calls(written: Sequence[str]) -> None:
    model = ToyModel(written=written)
    mixture = await built(ask=model)
    assert len(model.seen) <= 1500
    assert mixture.manifest["bill"]["calls"] == len(model.seen)


@pytest.mark.parametrize("most", [200, 400, 700])
async def test_the_cap_on_calls_is_kept_and_said_where_it_takes_much_away(most: int) -> None:
    model = ToyModel(written=MANY)
    mixture = await built(ask=model, max_calls=most)
    assert len(model.seen) <= most
    assert any("max_calls left" in note for note in mixture.manifest["notes"]) == (most < 400)


def shown(mixture: Mixture) -> set[str]:
    """Inputs of the demos that its regions show, or pick from."""
    fixed = {demo.input for region in mixture.regions for demo in region.demos}
    return fixed | {demo.input for demo in (mixture.pool.demos if mixture.pool else ())}


async def test_no_prompt_that_is_compared_shows_the_demo_that_is_asked() -> None:
    model = ToyModel()
    await built(ask=model)
    compared = [messages for messages, _, temperature, _ in model.seen if temperature == 0]
    assert any(len(messages) > 4 for messages in compared)
    for messages in compared:
        asked = messages[-1]["content"]
        assert asked not in {each["content"] for each in messages[:-1]}


async def test_demos_that_are_asked_may_be_shown_too() -> None:
    model = ToyModel()
    mixture = await built(ask=model, held_out_share=0)
    asked = {messages[-1]["content"] for messages, _, temperature, _ in model.seen if temperature == 0}
    assert len(asked) == 80  # forty of each of two regions
    assert shown(mixture) & asked


async def test_a_mixture_that_picks_nearest_demos_keeps_them_to_pick_from() -> None:
    picking = await built(ask=ToyModel(written=()), demo_counts=(), shared_demos=0)
    assert picking.pool is not None and len(picking.pool) == 85
    assert all(region.nearest == 4 and not region.demos for region in picking.regions)
    assert await accuracy(picking, toy_demos(160)[100:]) > 0.9
    fixed = await built(ask=ToyModel(written=()), nearest_counts=())
    assert fixed.pool is None and all(region.demos for region in fixed.regions)


async def test_more_demos_than_a_pool_takes_are_thinned() -> None:
    mixture = await built(toy_demos(1400), ToyModel(written=()), demo_counts=(), shared_demos=0)
    assert mixture.pool is not None and len(mixture.pool) == MAX_POOL
    assert mixture.manifest["demos"]["known"]["demos"] == 1340


async def test_samples_are_not_the_first_of_a_sorted_file() -> None:
    model, config = ToyModel(), BuildConfig(region_samples=4, max_regions=1, held_out_share=0)
    demos = sorted(toy_demos(), key=lambda demo: demo.input)  # counts, then mirrors
    await build(demos, config, model, encode)
    compared = [messages for messages, _, temperature, _ in model.seen if temperature == 0]
    asked = {messages[-1]["content"].split()[0] for messages in compared if len(messages) > 4}
    assert asked == {"count", "mirror"}


async def test_held_out_demos_are_never_shown() -> None:
    model = ToyModel()
    mixture = await built(ask=model, held_out_share=0.3)
    held_out = [messages[-1]["content"] for messages, *_ in model.seen[-30:]]
    assert mixture.manifest["demos"]["held_out"]["demos"] == 30
    everything = {each["content"] for messages, *_ in model.seen[:-60] for each in messages}
    assert not set(held_out) & (shown(mixture) | everything)


async def test_a_build_that_was_killed_goes_on_where_it_was() -> None:
    whole = ToyModel()
    expected = await built(ask=whole)
    begun, ended = ToyModel(fails_after=300), ToyModel()
    known: dict[str, Reply] = {}
    with pytest.raises(ConnectionError):
        await built(ask=Remembering(begun, known))
    mixture = await built(ask=Remembering(ended, known))
    assert mixture.digest == expected.digest
    assert len(begun.seen) + len(ended.seen) == len(whole.seen)
    assert mixture.manifest["bill"]["cached"] == 300
    assert mixture.manifest["bill"]["prompt_tokens"] == expected.manifest["bill"]["prompt_tokens"]


async def test_where_nothing_helps_the_plain_prompt_stays() -> None:
    mixture = await built(ask=ToyModel(answer=lambda _: "nonsense"))
    assert all(prompt.plain for region in range(len(mixture.regions)) for prompt in mixture.longest(region))
    assert mixture.fallback.plain
    assert "nothing beat the plain prompt" in " ".join(mixture.manifest["notes"])


async def test_a_model_that_writes_no_instruction_still_gets_demos() -> None:
    mixture = await built(ask=ToyModel(written=("", "42")))
    assert all((region.demos or region.nearest) and not region.instruction for region in mixture.regions)
    assert "it wrote none that can be used" in " ".join(mixture.manifest["notes"])


async def test_a_model_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(MixtureError, match=r"llm answered"):
        await build(
            toy_demos(), BuildConfig(), ToyModel(written=(), answer=lambda _: " "), encode, base="llm"
        )


async def test_a_small_context_gets_fewer_demos() -> None:
    mixture = await built(ask=ToyModel(words=24, written=()))
    sizes = [
        sum(len(f"{demo.input} {demo.output}".split()) for demo in region.demos) for region in mixture.regions
    ]
    assert 0 < max(sizes) <= 24 - len(["mirror", "word"])


async def test_a_demo_that_fits_no_context_is_left_out_and_said_to_be() -> None:
    demos = [*toy_demos(40), Demo("mirror " + "w " * 6000, "x")]
    mixture = await built(demos, ToyModel(), context_tokens=2048, held_out_share=0)
    assert "1 demos are too long" in " ".join(mixture.manifest["notes"])
    assert shown(mixture)
    assert demos[-1].input not in shown(mixture)


async def test_demos_too_long_to_be_shown_still_choose_instructions() -> None:
    demos = [Demo(f"{demo.input} {'x' * 1500}", demo.output) for demo in toy_demos(40)]
    alone = ToyModel(written=(MIRROR,), answer=lambda messages: "yes")
    mixture = await built(demos, alone, context_tokens=1024)
    assert alone.seen and not shown(mixture)


async def test_a_model_that_is_asked_for_no_instruction_is_not_said_to_have_written_none() -> None:
    mixture = await built(ask=ToyModel(words=24))
    assert "its context" in " ".join(mixture.manifest["notes"])


async def test_a_context_too_small_for_any_input_is_an_error() -> None:
    with pytest.raises(MixtureError, match="context is too small"):
        await built(ask=ToyModel(words=1))


@pytest.mark.parametrize("count", [8, 9, 12, 20])
async def test_few_demos_build_few_regions(count: int) -> None:
    mixture = await built(toy_demos(count))
    assert 1 <= len(mixture.regions) <= max(1, count // 5)


async def test_demos_of_one_kind_build_one_region_and_keep_its_instruction() -> None:
    demos = [Demo(f"mirror a{n:02d}", f"a{n:02d}"[::-1]) for n in range(40)]
    mixture = await build(
        demos,
        BuildConfig(demo_counts=(), shared_demos=0, nearest_counts=()),
        ToyModel(),
        lambda texts: np.ones((len(texts), 2), dtype=np.float32),
    )
    assert [region.instruction for region in mixture.regions] == [MIRROR]
    assert "one region" in " ".join(mixture.manifest["notes"])


@pytest.mark.parametrize(
    ("demos", "complaint"),
    [
        ([], "too few"),
        (toy_demos(7), "too few"),
        ([*toy_demos(20), Demo(toy_demos(20)[0].input, "wrong")], "another output"),
        ([Demo(f"mirror {n}", "same") for n in range(30)], "same output"),
        ([Demo("mirror x", "X")] * 30, "too few"),
        ([*toy_demos(20), Demo("mirror x", " ")], "demo 21: output: must be text"),
    ],
)
async def test_demos_that_nothing_can_be_built_from_cost_nothing(demos: list[Demo], complaint: str) -> None:
    model = ToyModel()
    with pytest.raises(DemoError, match=complaint):
        await built(demos, model)
    assert model.seen == []


@pytest.mark.parametrize(
    "broken", [np.zeros((3, 4)), np.zeros(100), np.full((100, 4), np.nan)], ids=["few", "flat", "nan"]
)
async def test_an_encoder_that_gives_no_vectors_is_an_error(broken: Matrix) -> None:
    with pytest.raises(MixtureError, match="no vector"):
        await build(toy_demos(), BuildConfig(), ToyModel(), lambda _: broken)


async def test_a_name_that_no_expert_may_have_is_refused() -> None:
    with pytest.raises(MixtureError, match="cannot name a mixture"):
        await build(toy_demos(), BuildConfig(), ToyModel(), encode, name="a b")


async def test_what_was_built_can_be_saved_and_says_how_it_was_made(tmp_path: Path) -> None:
    mixture = await built(layout="block", metric="contains", seed=3)
    save_mixture(mixture, tmp_path / "m")
    loaded = load_mixture(tmp_path / "m")
    assert loaded.digest == mixture.digest
    record = loaded.manifest
    assert (record["config"]["seed"], record["config"]["layout"], loaded.layout) == (3, "block", "block")
    assert len(record["held_out"]["regions"]) == len(record["search"]) == len(loaded.regions)
    counted = [each["demos"] for each in [*record["held_out"]["regions"], record["held_out"]["fallback"]]]
    assert sum(counted) == record["held_out"]["all"]["demos"] == record["demos"]["held_out"]["demos"]
    assert record["code"]["coterie"]


async def test_the_prefix_cache_is_read_before_and_after() -> None:
    readings = [PrefixCache(100, 50), PrefixCache(1100, 850)]

    async def read() -> PrefixCache | None:
        return readings.pop(0) if readings else None

    mixture = await build(toy_demos(), BuildConfig(), ToyModel(), encode, prefix_cache=read)
    assert mixture.manifest["bill"]["prefix_cache"] == {"queries": 1000, "hits": 800}
    assert mixture.manifest["bill"]["prefix_cache_hit_rate"] == 0.8


async def test_a_server_without_such_counters_leaves_it_open() -> None:
    async def read() -> PrefixCache | None:
        return None

    mixture = await build(toy_demos(), BuildConfig(), ToyModel(), encode, prefix_cache=read)
    assert mixture.manifest["bill"]["prefix_cache_hit_rate"] is None


async def test_no_instruction_gives_a_demo_away() -> None:
    leaking = [f"Answer {demo.output}, as always." for demo in toy_demos()[1::2]]
    mixture = await built(ask=ToyModel(written=leaking), held_out_share=0)
    assert mixture.manifest["instructions"]["induced"] == []


async def test_steps_are_told_as_they_are_made() -> None:
    steps: list[tuple[str, int, int]] = []
    await build(toy_demos(), BuildConfig(), ToyModel(), encode, progress=lambda *step: steps.append(step))
    assert list(dict.fromkeys(stage for stage, *_ in steps)) == [
        "inducing instructions",
        "scoring instructions",
        *(f"joint search, round {number} of 5" for number in range(1, 6)),
        "measuring",
    ]
    assert all(done <= total for _, done, total in steps)


async def test_a_far_request_gets_the_fallback_prompt() -> None:
    mixture = await built()
    choice = mixture.choose(encode(["whatever else there is"])[0])
    assert choice.fallback and choice.region is None


def test_intervals_hold_the_share_and_stay_between_nought_and_one() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(7, 10)
    assert (round(low, 3), round(high, 3)) == (0.397, 0.892)  # the textbook's example
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == pytest.approx(1.0)
