"""The joint search: what measures better wins, luck and long prompts do not."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from base.reply import Reply
from base.usage import TokenUsage
from prompts.mixture.call_budget import Asking, Messages
from prompts.mixture.demo_sets import NO_DEMOS, DemoSet
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import PLAIN, FewShotPrompt, lay_out
from prompts.mixture.pool import DemoPool, MixtureError
from prompts.mixture.prompt_scoring import PromptScorer, answer_tokens
from prompts.mixture.search import RegionPrompt, best_instructions, region_based_joint_search
from tests.unit.prompts.mixture.world import COUNT, MIRROR, ToyModel, encode, toy_demos

DEMOS = toy_demos(60)
POOL = DemoPool(DEMOS, encode([demo.input for demo in DEMOS]))
MIRRORS = [index for index, demo in enumerate(DEMOS) if demo.input.startswith("mirror")]
COUNTS = [index for index, demo in enumerate(DEMOS) if demo.input.startswith("count")]


def scorer(model: ToyModel, config: BuildConfig | None = None, concurrency: int = 4) -> PromptScorer:
    config = config or BuildConfig()
    return PromptScorer(config, Asking(model, concurrency=concurrency, max_calls=5000), 16)


def showing(*indices: int, name: str = "region:1") -> DemoSet:
    """A set of these demos, the same for all."""
    return DemoSet(name, indices, len(indices))


async def search(
    model: ToyModel,
    samples: Sequence[Sequence[int]],
    instructions: Sequence[str] = (MIRROR, COUNT, ""),
    sets: Sequence[Sequence[DemoSet]] | None = None,
    pool: DemoPool = POOL,
    boost: int = 64,
    **hyperparameters: Any,
) -> tuple[list[RegionPrompt], FewShotPrompt]:
    sets = sets or [(NO_DEMOS,)] * len(samples)
    asking = scorer(model, BuildConfig.model_validate(hyperparameters))
    return await region_based_joint_search(instructions, sets, samples, pool, asking, boost)


async def test_each_region_takes_what_is_best_on_its_own_samples() -> None:
    found, _ = await search(ToyModel(), [MIRRORS[:10], COUNTS[:10]])
    assert [each.instruction for each in found] == [MIRROR, COUNT]


async def test_demos_win_where_they_measure_better_than_instructions() -> None:
    sets = [(NO_DEMOS, showing(MIRRORS[-1])), (NO_DEMOS, showing(COUNTS[-1]))]
    found, _ = await search(ToyModel(), [MIRRORS[:10], COUNTS[:10]], instructions=(MIRROR, ""), sets=sets)
    assert (found[1].instruction, found[1].demo_set) == ("", showing(COUNTS[-1]))
    assert found[1].samples == 10
    assert found[1].estimate == pytest.approx(1.0, abs=0.05)
    assert found[1].plain_estimate == pytest.approx(0.0, abs=0.05)


async def test_nearest_demos_win_where_those_of_the_region_do_not_help() -> None:
    """A region of both kinds, that shows demos of one."""
    sets = [(NO_DEMOS, showing(MIRRORS[-1]), DemoSet("nearest:2", nearest=2))]
    found, _ = await search(ToyModel(), [[*MIRRORS[:8], *COUNTS[:8]]], instructions=("",), sets=sets)
    assert found[0].demo_set.nearest == 2


async def test_no_demo_is_shown_when_it_is_asked() -> None:
    model = ToyModel()
    sets = [(NO_DEMOS, DemoSet("region:4", tuple(MIRRORS), 4), DemoSet("nearest:4", nearest=4))]
    await search(model, [MIRRORS], instructions=("",), sets=sets)
    with_demos = [messages for messages, *_ in model.seen if len(messages) > 1]
    assert len(with_demos) == 2 * len(MIRRORS)
    for messages in with_demos:
        assert len(messages) == 9
        assert messages[-1]["content"] not in {each["content"] for each in messages[:-1]}


async def test_of_equally_good_prompts_the_cheaper_wins() -> None:
    sets = [(NO_DEMOS, showing(*MIRRORS[-2:], name="region:2"), showing(MIRRORS[-1]))]
    found, _ = await search(ToyModel(), [MIRRORS[:10]], instructions=(MIRROR, ""), sets=sets)
    assert (found[0].instruction, found[0].demo_set.name) == ("", "region:1")


async def test_of_equally_good_demos_those_that_all_requests_share_win() -> None:
    sets = [(NO_DEMOS, DemoSet("nearest:1", nearest=1), showing(MIRRORS[-1]))]
    shared, _ = await search(ToyModel(), [MIRRORS[:10]], instructions=("",), sets=sets)
    assert shared[0].demo_set.name == "region:1"
    free, _ = await search(
        ToyModel(), [MIRRORS[:10]], instructions=("",), sets=sets, own_token_weight=0, token_weight=9
    )
    assert free[0].demo_set.name == "nearest:1"


async def test_a_gain_that_does_not_pay_for_its_tokens_is_not_taken() -> None:
    found, _ = await search(ToyModel(), [MIRRORS[:10]], instructions=(MIRROR, ""), token_weight=1000)
    assert found[0].plain


async def test_where_nothing_beats_the_plain_prompt_it_is_kept() -> None:
    sets = [(NO_DEMOS, showing(*MIRRORS[-2:]))]
    for model in (ToyModel(answer=lambda _: "nonsense"), ToyModel(answer=_always_right)):
        found, fallback = await search(model, [MIRRORS[:10]], sets=sets)
        assert found[0].plain and fallback == PLAIN
        assert found[0].extra_tokens == 0.0


def _always_right(messages: Messages) -> str:
    return messages[-1]["content"].partition(" ")[2][::-1]


def by_luck(*right: tuple[str, Sequence[Sequence[int]]]) -> ToyModel:
    """A model that under each instruction is right on these of the eighteen samples, of six regions."""
    tables = {text: [bool(each) for region in table for each in region] for text, table in right}
    order = {DEMOS[index].input: place for place, index in enumerate(MIRRORS[:18])}

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
    naive, _ = await search(model, THREES, texts, shrinkage=0)
    assert {each.instruction for each in drawn} == {"Be steady."}
    assert naive[0].instruction == "Be lucky."


async def test_regions_that_really_differ_trust_their_few_samples() -> None:
    model = by_luck(
        ("Be rare.", [(1, 1, 1), *[(0, 0, 0)] * 5]),
        ("Be common.", [(0, 0, 0), *[(1, 1, 1)] * 5]),
    )
    found, _ = await search(model, THREES, ("Be rare.", "Be common.", ""))
    assert [each.instruction for each in found] == ["Be rare.", *["Be common."] * 5]


async def test_a_region_without_samples_takes_what_is_best_everywhere() -> None:
    found, fallback = await search(ToyModel(), [MIRRORS[:10], []], instructions=(COUNT, MIRROR, ""))
    assert found[1].instruction == MIRROR == fallback.instruction
    assert found[1].samples == 0


async def test_a_region_without_demos_of_its_own_does_not_take_an_empty_set_for_a_good_one() -> None:
    own = [(NO_DEMOS, showing(MIRRORS[-1])), (NO_DEMOS, DemoSet("region:1"))]
    found, _ = await search(ToyModel(), [MIRRORS[:10], []], instructions=(MIRROR, ""), sets=own)
    assert found[0].demo_set.name == "region:1"
    assert (found[1].demo_set, found[1].instruction) == (NO_DEMOS, MIRROR)


async def test_several_names_of_one_prompt_take_one_place() -> None:
    """Six names of a good one would leave no other a second sample."""
    model, copies = ToyModel(), [showing(MIRRORS[-1], name=f"region:{each}") for each in range(6)]
    rules = [f"Follow rule {number} of the book." for number in range(5)]
    await search(model, [MIRRORS[:16]], (*rules, ""), [(NO_DEMOS, *copies)], boost=1)
    asked = Counter(repr(messages[:-1]) for messages, *_ in model.seen)
    assert len(asked) == 12
    assert sum(times >= 2 for times in asked.values()) >= 10


async def test_far_requests_get_the_instruction_that_is_best_everywhere() -> None:
    _, fallback = await search(ToyModel(), [MIRRORS[:3], COUNTS[:9]])
    assert fallback == FewShotPrompt(COUNT)


async def test_a_prompt_that_does_not_fit_is_out() -> None:
    sets = [(NO_DEMOS, showing(*MIRRORS[-4:], name="region:4"), showing(MIRRORS[-1]))]
    found, _ = await search(ToyModel(words=7), [MIRRORS[:10]], instructions=("",), sets=sets)
    assert found[0].demo_set.name == "region:1"


async def test_a_prompt_is_out_even_if_it_failed_to_fit_once_and_is_best_otherwise() -> None:
    demos = (*DEMOS, Demo("mirror a b c", "c b a"))
    pool = DemoPool(demos, encode([demo.input for demo in demos]))
    sets = [(NO_DEMOS, showing(MIRRORS[-1]))]
    found, _ = await search(ToyModel(words=6), [[*MIRRORS[:9], 60]], ("",), sets, pool)
    assert found[0].plain


async def test_a_prompt_that_gains_nothing_is_not_taken_for_being_shorter() -> None:
    """Some chat templates put a long text of their own where there is no system message."""

    class Chatty(ToyModel):
        async def __call__(
            self, messages: Messages, *, max_tokens: int, temperature: float, seed: int
        ) -> Reply:
            said = await super().__call__(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
            added = 0 if messages[0]["role"] == "system" else 5000
            return Reply(said.text, usage=TokenUsage((said.usage.prompt or 0) + added, said.usage.completion))

    found, _ = await search(Chatty(), [MIRRORS[:6]], instructions=("Say it.", ""))
    assert found[0].plain


async def test_prompts_are_compared_in_the_layout_that_requests_will_have() -> None:
    config = BuildConfig(layout="block")
    call = scorer(ToyModel(), config).call(FewShotPrompt(MIRROR, (DEMOS[0],)), DEMOS[1])
    asked = [{"role": "user", "content": DEMOS[1].input}]
    assert list(call.messages) == lay_out(FewShotPrompt(MIRROR, (DEMOS[0],)), asked, "block")


async def test_a_context_that_holds_no_input_is_an_error() -> None:
    with pytest.raises(MixtureError, match="context is too small"):
        await search(ToyModel(words=1), [MIRRORS[:4]])


async def test_calls_under_one_prompt_are_neighbours() -> None:
    model = ToyModel()
    sets = [(NO_DEMOS, showing(MIRRORS[-1]))]
    one_by_one = scorer(model, concurrency=1)
    await region_based_joint_search((MIRROR, ""), sets, [MIRRORS[:5]], POOL, one_by_one, 64)
    fronts = [repr(messages[:-1]) for messages, *_ in model.seen]
    changes = sum(one != other for one, other in pairwise(fronts))
    assert changes == len(set(fronts)) - 1 == 3


async def test_calls_go_to_prompts_that_may_still_win() -> None:
    """Half as many prompts in each round, on twice as many samples; the plain one to the end."""
    rules = [f"Follow rule {number} of the book." for number in range(14)]
    model = ToyModel()
    await search(model, [MIRRORS[:16], COUNTS[:16]], instructions=(*rules, MIRROR, ""), boost=1)
    asked: dict[str, int] = {}
    for messages, *_ in model.seen:
        front = messages[0]["content"] if len(messages) > 1 else ""
        asked[front] = asked.get(front, 0) + 1
    # 16 prompts are halved to 2 in four rounds, the first of which takes 2 of a region's 16 samples.
    assert asked[MIRROR] == 16 + 16
    assert asked[""] == 32
    assert sorted(asked[rule] for rule in rules)[:7] == [4] * 7
    assert len(model.seen) <= 2 * (16 * 2 + 8 * 2 + 4 * 4 + 2 * 8 + 16) < 17 * 32


async def test_the_best_candidates_are_kept_with_the_empty_one() -> None:
    samples = POOL.pick([*MIRRORS[:8], *COUNTS[:4]])
    kept = await best_instructions(
        ["Say nothing.", COUNT, MIRROR, "Be brief."], samples, 2, scorer(ToyModel())
    )
    assert kept == (MIRROR, COUNT, "")


async def test_of_equally_good_candidates_the_shorter_is_kept() -> None:
    kept = await best_instructions(
        ["Absolutely say nothing.", "Be brief."], POOL.pick(MIRRORS[:4]), 1, scorer(ToyModel())
    )
    assert kept == ("Be brief.", "")


def test_answers_get_room_for_the_longest_output() -> None:
    assert answer_tokens([Demo("a", "b" * 100)], BuildConfig()) >= 50
    assert answer_tokens([Demo("a", "b" * 100)], BuildConfig(answer_tokens=7)) == 7
