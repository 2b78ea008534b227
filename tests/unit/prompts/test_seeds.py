"""The prompts that the project ships are complete, well-formed, and their splits are apart."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from eval.checks import PythonCheck
from eval.suite import CheckablePrompt, load_suite
from prompts.seeds import PromptsError, Seed, load_categories, load_seeds

NAMES = [category.name for category in load_categories()]
FIT, TEST, CHECKABLE = load_seeds("fit"), load_seeds("test"), list(load_suite().items)
RUN = 8
"""Two prompts that share so many words in a row are near-identical."""


def plain_words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold())


def runs(text: str) -> set[tuple[str, ...]]:
    """Every run of `RUN` words; a shorter prompt is one run by itself."""
    words = plain_words(text)
    return {tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))}


def test_there_are_fourteen_categories_each_with_a_title_and_a_definition() -> None:
    assert len(NAMES) == 14
    assert len(set(NAMES)) == 14
    assert all(category.title and category.definition for category in load_categories())


@pytest.mark.parametrize(
    ("prompts", "least"),
    [
        pytest.param(FIT, 80, id="fit"),
        pytest.param(TEST, 20, id="test"),
        pytest.param(CHECKABLE, 15, id="checkable"),
    ],
)
def test_every_category_has_enough_prompts_and_there_is_no_other(
    prompts: list[Seed] | list[CheckablePrompt], least: int
) -> None:
    counts = Counter(prompt.category for prompt in prompts)

    assert sorted(counts) == sorted(NAMES)
    assert min(counts.values()) >= least


def test_ids_are_unique_and_say_where_their_prompt_stands() -> None:
    every: list[tuple[str, Seed | CheckablePrompt]] = [
        *(("fit", seed) for seed in FIT),
        *(("test", seed) for seed in TEST),
        *(("check", item) for item in CHECKABLE),
    ]

    assert max(Counter(prompt.id for _, prompt in every).values()) == 1
    strangers = [
        prompt.id
        for kind, prompt in every
        if not re.fullmatch(rf"{prompt.category}-{kind}-\d{{3}}", prompt.id)
    ]
    assert strangers == []


def test_no_prompt_occurs_twice() -> None:
    places = defaultdict(list)
    every: list[Seed | CheckablePrompt] = [*FIT, *TEST, *CHECKABLE]
    for prompt in every:
        places[" ".join(plain_words(prompt.prompt)) or prompt.prompt].append(prompt.id)

    assert [ids for ids in places.values() if len(ids) > 1] == []


def test_no_test_prompt_is_near_a_prompt_to_fit_on() -> None:
    owners = {run: seed.id for seed in FIT for run in runs(seed.prompt)}

    shared = [(seed.id, owners[run]) for seed in TEST for run in runs(seed.prompt) if run in owners]
    assert shared == []


def test_prompts_vary_in_length_within_every_category() -> None:
    for name in NAMES:
        lengths = sorted(len(seed.prompt.split()) for seed in FIT if seed.category == name)
        assert lengths[len(lengths) // 8] <= 12, name
        assert lengths[-5] >= 100, name


def test_the_traits_asked_for_occur_in_every_category() -> None:
    for name in NAMES:
        traits = Counter(trait for seed in FIT if seed.category == name for trait in seed.traits)
        assert traits["typos"] >= 5, name
        assert traits["multi-part"] >= 5, name
        assert traits["short"] >= 10, name


def test_right_letters_of_choices_are_spread() -> None:
    letters = Counter(item.check.answer for item in CHECKABLE if item.check.kind == "choice")

    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 1.5 * min(letters.values())


def test_a_category_has_checks_of_several_kinds() -> None:
    for name in NAMES:
        assert len({item.check.kind for item in CHECKABLE if item.category == name}) >= 2, name


def test_functions_that_tests_call_are_named_in_the_prompt() -> None:
    for item in CHECKABLE:
        if isinstance(item.check, PythonCheck):
            match = re.search(r"(?:def |`)(\w+)\(", item.prompt)
            assert match, item.id
            assert all(match.group(1) in test for test in item.check.tests), item.id


def test_a_broken_seed_file_is_named_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "fit"
    folder.mkdir()
    good = json.dumps({"id": "math-fit-001", "prompt": "2+2?", "traits": ["short"]})
    (folder / "math.jsonl").write_text(f"{good}\n{{\n")
    with pytest.raises(PromptsError, match=r"math\.jsonl:2: is not JSON"):
        load_seeds("fit", tmp_path)

    (folder / "math.jsonl").write_text(f"{good}\n{good.replace('short', 'shiny')}\n")
    with pytest.raises(PromptsError, match=r"math\.jsonl:2: traits\.0"):
        load_seeds("fit", tmp_path)


def test_an_empty_folder_of_seeds_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"holds no \.jsonl file"):
        load_seeds("test", tmp_path)


def test_a_category_named_twice_is_an_error(tmp_path: Path) -> None:
    entry = "{name: math, title: Maths, definition: Sums}"
    path = tmp_path / "categories.yaml"
    path.write_text(f"categories: [{entry}, {entry}]")

    with pytest.raises(PromptsError, match="named twice"):
        load_categories(path)
