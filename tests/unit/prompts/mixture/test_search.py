"""The joint search: what measures better wins, luck and long prompts do not."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from prompts.mixture.asking import Asking, Completion, Messages
from prompts.mixture.config import BuildConfig
from prompts.mixture.demo_sets import demo_sets, representative
from prompts.mixture.demos import Demo
from prompts.mixture.examining import Examiner, answer_tokens
from prompts.mixture.layout import PLAIN, Prompt, lay_out
from prompts.mixture.mixture import MixtureError
from prompts.mixture.regions import Division
from prompts.mixture.search import Found, best_instructions, region_based_joint_search, strength
from tests.unit.prompts.mixture.world import COUNT, MIRROR, ToyModel, encode, toy_demos

MIRRORS = [demo for demo in toy_demos(40) if demo.input.startswith("mirror")]
COUNTS = [demo for demo in toy_demos(40) if demo.input.startswith("count")]


def examiner(model: ToyModel, config: BuildConfig | None = None) -> Examiner:
    config = config or BuildConfig()
    return Examiner(config, Asking(model, concurrency=4, max_calls=5000), 16)


async def search(
    model: ToyModel,
    samples: Sequence[Sequence[Demo]],
    instructions: Sequence[str] = (MIRROR, COUNT, ""),
    sets: Sequence[dict[str, tuple[Demo, ...]]] | None = None,
    config: BuildConfig | None = None,
) -> tuple[list[Found], Prompt]:
    sets = sets or [{"none": ()}] * len(samples)
    return await region_based_joint_search(instructions, sets, samples, examiner(model, config))


async def test_each_region_takes_what_is_best_on_its_own_samples() -> None:
    found, _ = await search(ToyModel(), [MIRRORS[:10], COUNTS[:10]])
    assert [each.prompt.instruction for each in found] == [MIRROR, COUNT]


async def test_demos_win_where_they_measure_better_than_instructions() -> None:
    sets = [{"none": (), "region:1": (MIRRORS[-1],)}, {"none": (), "region:1": (COUNTS[-1],)}]
    found, _ = await search(ToyModel(), [MIRRORS[:10], COUNTS[:10]], instructions=(MIRROR, ""), sets=sets)
    assert found[1].prompt == Prompt("", (COUNTS[-1],))
    assert (found[1].demo_set, found[1].estimate, found[1].plain) == ("region:1", 1.0, 0.0)


async def test_of_equally_good_prompts_the_cheaper_wins() -> None:
    sets = [{"none": (), "region:2": tuple(MIRRORS[-2:]), "region:1": (MIRRORS[-1],)}]
    found, _ = await search(ToyModel(), [MIRRORS[:10]], instructions=(MIRROR, ""), sets=sets)
    assert found[0].prompt == Prompt("", (MIRRORS[-1],))


async def test_a_gain_that_does_not_pay_for_its_tokens_is_not_taken() -> None:
    found, _ = await search(
        ToyModel(), [MIRRORS[:10]], instructions=(MIRROR, ""), config=BuildConfig(token_weight=1000)
    )
    assert found[0].prompt.plain


async def test_where_nothing_beats_the_plain_prompt_it_is_kept() -> None:
    sets = [{"none": (), "region:2": tuple(MIRRORS[-2:])}]
    for model in (ToyModel(answer=lambda _: "nonsense"), ToyModel(answer=_always_right)):
        found, fallback = await search(model, [MIRRORS[:10]], sets=sets)
        assert found[0].prompt == PLAIN == fallback
        assert found[0].extra_tokens == 0.0


def _always_right(messages: Messages) -> str:
    return messages[-1]["content"].partition(" ")[2][::-1]


def by_luck(*right: tuple[str, Sequence[Sequence[int]]]) -> ToyModel:
    """A model that under each instruction is right on these of the eighteen samples, of six regions."""
    tables = {text: [bool(each) for region in table for each in region] for text, table in right}
    order = {demo.input: place for place, demo in enumerate(MIRRORS[:18])}

    def answer(messages: Messages) -> str:
        table = tables.get(messages[0]["content"])
        asked = messages[-1]["content"]
        return _always_right(messages) if table and table[order[asked]] else "wrong"

    return ToyModel(answer=answer)


THREES = [MIRRORS[start : start + 3] for start in range(0, 18, 3)]


async def test_luck_on_three_samples_does_not_beat_what_is_good_everywhere() -> None:
    model = by_luck(
        ("Be lucky.", [(1, 1, 1), (0, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]),
        ("Be steady.", [(1, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]),
    )
    texts = ("Be lucky.", "Be steady.", "")
    drawn, _ = await search(model, THREES, texts)
    naive, _ = await search(model, THREES, texts, config=BuildConfig(shrinkage=0))
    assert {each.prompt.instruction for each in drawn} == {"Be steady."}
    assert naive[0].prompt.instruction == "Be lucky."


async def test_regions_that_really_differ_trust_their_few_samples() -> None:
    model = by_luck(
        ("Be rare.", [(1, 1, 1), *[(0, 0, 0)] * 5]),
        ("Be common.", [(0, 0, 0), *[(1, 1, 1)] * 5]),
    )
    found, _ = await search(model, THREES, ("Be rare.", "Be common.", ""))
    assert [each.prompt.instruction for each in found] == ["Be rare.", *["Be common."] * 5]


def test_strength_is_high_where_regions_are_alike_and_low_where_they_differ() -> None:
    rng = np.random.default_rng(0)
    regions = np.repeat(np.arange(8), 12)
    alike = (rng.random((6, 96)) < np.linspace(0.2, 0.8, 6)[:, None]).astype(float)
    harder = alike - 0.5 * (regions % 2)  # for every prompt alike
    rates = rng.random((6, 8))[:, regions]
    different = (rng.random((6, 96)) < rates).astype(float)
    measured = [strength(each, regions) for each in (alike, different)]
    assert measured[0] is not None and measured[1] is not None
    assert measured[0] > 20 > 5 > measured[1]
    assert strength(harder, regions) == pytest.approx(measured[0])


def test_strength_finds_the_variances_that_made_the_scores() -> None:
    rng = np.random.default_rng(1)
    regions = np.repeat(np.arange(60), 10)
    effects = rng.normal(0, 0.5, size=(5, 60))[:, regions]
    scores = effects + rng.normal(0, 1.0, size=(5, 600))
    assert strength(scores, regions) == pytest.approx(1.0 / 0.25, rel=0.25)


@pytest.mark.parametrize("regions", [[0, 0, 0, 0], [0, 1, 2, 3], []])
def test_strength_is_unknown_without_several_regions_of_several_samples(regions: list[int]) -> None:
    assert strength(np.ones((2, len(regions))), np.asarray(regions, dtype=np.intp)) is None


async def test_a_region_without_samples_takes_what_is_best_everywhere() -> None:
    found, fallback = await search(ToyModel(), [MIRRORS[:10], []], instructions=(COUNT, MIRROR, ""))
    assert found[1].prompt.instruction == MIRROR == fallback.instruction
    assert found[1].samples == 0


async def test_far_requests_get_the_instruction_that_is_best_everywhere() -> None:
    _, fallback = await search(ToyModel(), [MIRRORS[:3], COUNTS[:9]])
    assert fallback == Prompt(COUNT)


async def test_a_prompt_that_does_not_fit_is_out() -> None:
    sets = [{"none": (), "region:4": tuple(MIRRORS[-4:]), "region:1": (MIRRORS[-1],)}]
    found, _ = await search(ToyModel(words=7), [MIRRORS[:10]], instructions=("",), sets=sets)
    assert found[0].prompt == Prompt("", (MIRRORS[-1],))


async def test_a_prompt_is_out_even_if_it_failed_to_fit_once_and_is_best_otherwise() -> None:
    samples = [*MIRRORS[:9], Demo("mirror a b c", "c b a")]
    sets = [{"none": (), "region:1": (MIRRORS[-1],)}]
    found, _ = await search(ToyModel(words=6), [samples], instructions=("",), sets=sets)
    assert found[0].prompt.plain


async def test_a_prompt_that_gains_nothing_is_not_taken_for_being_shorter() -> None:
    """Some chat templates put a long text of their own where there is no system message."""

    class Chatty(ToyModel):
        async def __call__(
            self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
        ) -> Completion:
            said = await super().__call__(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
            added = 0 if messages[0]["role"] == "system" else 5000
            return Completion(said.text, said.prompt_tokens + added, said.completion_tokens)

    found, _ = await search(Chatty(), [MIRRORS[:6]], instructions=("Say it.", ""))
    assert found[0].prompt.plain


async def test_prompts_are_compared_in_the_layout_that_requests_will_have() -> None:
    config = BuildConfig(layout="block")
    call = examiner(ToyModel(), config).call(Prompt(MIRROR, (MIRRORS[0],)), MIRRORS[1])
    asked = [{"role": "user", "content": MIRRORS[1].input}]
    assert list(call.messages) == lay_out(Prompt(MIRROR, (MIRRORS[0],)), asked, "block")


async def test_a_context_that_holds_no_input_is_an_error() -> None:
    with pytest.raises(MixtureError, match="context is too small"):
        await search(ToyModel(words=1), [MIRRORS[:4]])


async def test_calls_under_one_prompt_are_neighbours() -> None:
    model = ToyModel()
    sets = [{"none": (), "region:1": (MIRRORS[-1],)}]
    await region_based_joint_search(
        (MIRROR, ""),
        sets,
        [MIRRORS[:5]],
        Examiner(BuildConfig(), Asking(model, concurrency=1, max_calls=99), 16),
    )
    fronts = [repr(messages[:-1]) for messages, *_ in model.seen]
    changes = sum(one != other for one, other in pairwise(fronts))
    assert changes == len(set(fronts)) - 1 == 3


async def test_the_best_candidates_are_kept_with_the_empty_one() -> None:
    samples = [*MIRRORS[:8], *COUNTS[:4]]
    kept = await best_instructions(
        ["Say nothing.", COUNT, MIRROR, "Be brief."], samples, 2, examiner(ToyModel())
    )
    assert kept == (MIRROR, COUNT, "")


async def test_of_equally_good_candidates_the_shorter_is_kept() -> None:
    kept = await best_instructions(
        ["Absolutely say nothing.", "Be brief."], MIRRORS[:4], 1, examiner(ToyModel())
    )
    assert kept == ("Be brief.", "")


def test_representative_demos_cover_every_bunch() -> None:
    axes = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    demos = [Demo(str(n), f"out {n}") for n in range(12)]
    chosen = representative(np.arange(12), axes, demos, 3)
    assert sorted(index // 4 for index in chosen) == [0, 1, 2]


def test_fewer_representative_demos_begin_the_longer_list() -> None:
    demos = toy_demos(20)
    vectors = encode([demo.input for demo in demos])
    longest = representative(np.arange(20), vectors, demos, 9)
    assert [representative(np.arange(20), vectors, demos, n) for n in range(10)] == [
        longest[:n] for n in range(10)
    ]


def test_rare_labels_are_shown_too() -> None:
    demos = [Demo(str(n), "rare" if n == 7 else "common") for n in range(20)]
    vectors = np.ones((20, 2), dtype=np.float32)
    assert 7 in representative(np.arange(20), vectors, demos, 2)


def division(*labels: int) -> Division:
    return Division(np.asarray(labels), np.zeros((2, 2), np.float32), np.ones(2, np.float32), {})


def test_a_region_shows_its_own_training_demos_or_some_from_everywhere() -> None:
    demos = toy_demos(20)
    vectors = encode([demo.input for demo in demos])
    labels = [number % 2 for number in range(20)]
    config = BuildConfig(demo_counts=(2, 4), shared_demos=6)
    sets = demo_sets(1, demos, np.arange(14), division(*labels), vectors, examiner(ToyModel(), config))
    assert {name: len(shown) for name, shown in sets.items()} == {
        "none": 0,
        "region:2": 2,
        "region:4": 4,
        "shared:6": 6,
    }
    assert sets["region:2"] == sets["region:4"][:2]
    assert all(demos.index(demo) % 2 == 1 and demos.index(demo) < 14 for demo in sets["region:4"])
    assert {demos.index(demo) % 2 for demo in sets["shared:6"]} == {0, 1}


def test_sets_are_cut_to_the_context() -> None:
    demos = toy_demos(20)
    vectors = encode([demo.input for demo in demos])
    config = BuildConfig(context_tokens=530)
    sets = demo_sets(0, demos, np.arange(20), division(*[0] * 20), vectors, examiner(ToyModel(), config))
    assert 0 < len(sets["region:8"]) < 8
    none = BuildConfig(context_tokens=100)
    cut = demo_sets(0, demos, np.arange(20), division(*[0] * 20), vectors, examiner(ToyModel(), none))
    assert set(cut.values()) == {()}


def test_answers_get_room_for_the_longest_output() -> None:
    assert answer_tokens([Demo("a", "b" * 100)], BuildConfig()) >= 50
    assert answer_tokens([Demo("a", "b" * 100)], BuildConfig(answer_tokens=7)) == 7
