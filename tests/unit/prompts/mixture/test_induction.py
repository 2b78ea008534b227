"""Instructions that a model wrote are cleaned, and kept only when they say a rule."""

import numpy as np
import pytest

from prompts.mixture.call_budget import Asking
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.induction import clean, induce, induction_messages, leaks, usable
from prompts.mixture.regions import DemoClusters
from tests.unit.prompts.mixture.world import ToyModel

DEMOS = (Demo("the small cat", "dog"), Demo("big house", "7"), Demo("one", "yes"), Demo("two", "yes"))


@pytest.mark.parametrize(
    "written",
    [
        "Name the opposite of the word.",
        '"Name the opposite of the word."',
        "Instruction: Name the opposite of the word.",
        "The instruction is: **Name the opposite of the word.**",
        "Sure! Here is the instruction:\n\nName the opposite of the word.",
        "The instruction that leads from each input to its output is:\nName the opposite of the word.",
        "Name the opposite\nof the word.\n\nThis works because opposites differ.",
        "Name the opposite of the word.\nInput: warm\nOutput: cold",
        "Name the opposite of the word.\ud83d",
        "Name the opposite of the word.\ufffd",
    ],
)
def test_what_stands_around_an_instruction_is_taken_away(written: str) -> None:
    assert clean(written) == "Name the opposite of the word."


def test_an_instruction_with_a_colon_of_its_own_stays_whole() -> None:
    text = "Sort the list: smallest first, largest last."
    assert clean(text) == text
    assert (
        clean("Answer with one of two labels: glim or dorp.")
        == "Answer with one of two labels: glim or dorp."
    )


@pytest.mark.parametrize(
    "written", ["", "   ", "\n\n", "42", "?!", '""', "Input: a\nOutput: b", "Yes.", "Word Reversal"]
)
def test_what_is_no_instruction_is_dropped(written: str) -> None:
    assert usable(written, DEMOS, BuildConfig()) is None


def test_an_instruction_that_runs_on_is_dropped() -> None:
    assert usable("Name the opposite. " * 40, DEMOS, BuildConfig()) is None


def test_an_instruction_that_repeats_an_answer_or_an_input_leaks() -> None:
    assert leaks("Reply with dog.", DEMOS)
    assert leaks("Say something about The small, cat!", DEMOS)


def test_labels_and_parts_of_words_are_no_leaks() -> None:
    assert not leaks("Answer yes where one is meant.", DEMOS)
    assert not leaks("Be dogged.", DEMOS)
    assert not leaks("Use at most 7 words.", DEMOS)


def test_queries_share_their_beginning() -> None:
    one, other = (induction_messages([demo])[0]["content"] for demo in DEMOS[:2])
    shared = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert one[:shared].endswith("Input: ")


def divided(*labels: int) -> DemoClusters:
    count = max(labels) + 1
    return DemoClusters(
        np.asarray(labels), np.eye(count, dtype=np.float32), np.ones(count, dtype=np.float32), {}
    )


def numbered(count: int) -> list[Demo]:
    return [Demo(f"input number {each}", f"output{each}") for each in range(count)]


def asking(model: ToyModel) -> Asking:
    return Asking(model, concurrency=4, max_calls=100)


async def test_candidates_come_from_demos_outside_the_region() -> None:
    model, demos = ToyModel(), numbered(9)
    clusters = divided(0, 0, 0, 1, 1, 1, 2, 2, 2)
    await induce(demos, clusters, BuildConfig(candidates=3, induction_demos=6), asking(model))
    shown = [
        {each for each in range(9) if f"number {each}\n" in messages[0]["content"]}
        for messages, *_ in model.seen[:3]
    ]
    assert shown == [{3, 4, 5, 6, 7, 8}, {0, 1, 2, 6, 7, 8}, {0, 1, 2, 3, 4, 5}]


async def test_a_query_shows_five_demos_at_a_high_temperature_and_its_own_seed() -> None:
    model = ToyModel(written=[f"Do thing number {letter}." for letter in "abcdefgh"])
    config = BuildConfig(candidates=4, seed=30)
    await induce(numbered(20), divided(*[0] * 20), config, asking(model))
    assert [messages[0]["content"].count("Input:") for messages, *_ in model.seen] == [5] * 4
    assert [(temperature, seed) for *_, temperature, seed in model.seen] == [(0.9, 30 + n) for n in range(4)]


async def test_repeats_and_rubbish_are_asked_for_once_more() -> None:
    model = ToyModel(written=("Say it again.", "SAY IT AGAIN", "", "output3 is the answer"))
    config = BuildConfig(candidates=4)
    found = await induce(numbered(20), divided(*[0] * 20), config, asking(model))
    assert found == ("Say it again.",)
    assert len(model.seen) == 4 + 3


async def test_a_model_that_writes_nothing_leaves_no_candidates() -> None:
    found = await induce(numbered(8), divided(*[0] * 8), BuildConfig(), asking(ToyModel(written=())))
    assert found == ()


async def test_a_query_shows_as_many_demos_as_fit_the_context() -> None:
    model = ToyModel()
    long = [Demo(f"input number {each} {'word ' * 100}", f"output{each}") for each in range(20)]
    config = BuildConfig(candidates=2, context_tokens=1024)
    await induce(long, divided(*[0] * 20), config, asking(model))
    assert {messages[0]["content"].count("Input:") for messages, *_ in model.seen} == {3}


async def test_after_a_refusal_queries_show_fewer_demos() -> None:
    """The server's context is smaller than the registry says."""
    model = ToyModel(words=100)
    config = BuildConfig(candidates=2, induction_demos=8)
    found = await induce(numbered(20), divided(*[0] * 20), config, asking(model))
    assert [messages[0]["content"].count("Input:") for messages, *_ in model.seen] == [8, 8, 4, 4]
    assert found


def test_a_leak_is_seen_in_scripts_without_blanks() -> None:
    demos = [Demo("法国的首都是哪里？", "巴黎"), Demo("日本的首都是哪里？", "东京"), Demo("数", "一")]
    assert leaks("说出首都，例如东京。", demos)
    assert leaks("回答“法国的首都是哪里”这样的问题。", demos)
    assert not leaks("说出一个国家的首都。", [demos[0], demos[1]])
