"""Variants count with where they go, templates move no request, and a table is judged on other prompts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.routing_quality import RoutingSetting
from benchmarks.steadiness import Steadiness, fit_on_part, gains_by_prompt, lines, steadiness, translated
from eval.outcome_export import write_table
from prompts.seeds import load_seeds
from routers.composition import Composition, load_composition
from routers.encoder import Encoder
from routers.features import features_of
from routers.fitting import FitOptions, Labelled, fit
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.router import Router
from tests.unit.routers.world import BagOfWords, card

TEMPLATES = {"preamble", "question and answer", "chat template", "Markdown fence", "XML tags", "JSON"}
WRITERS = (card("scribe", 2.0), card("composer", 4.0))
OPENINGS = {"writing": ("Write",), "composing": ("Compose", "Draft")}


def written(each: int) -> OutcomeTable:
    """`each` prompts of two categories that differ in their first word alone; one expert masters each."""
    rows = [
        (category, f"{words[number % len(words)]} piece{category}{number} now", number)
        for category, words in OPENINGS.items()
        for number in range(each)
    ]
    scores = [[float(category == "writing"), float(category == "composing")] for category, _, _ in rows]
    return OutcomeTable(
        tuple(f"{category}-{number}" for category, _, number in rows),
        tuple(category for category, _, _ in rows),
        tuple(prompt for _, prompt, _ in rows),
        WRITERS,
        np.asarray(scores, dtype=np.float32),
    )


def by_first_word() -> Composition:
    table = written(40)
    labelled = Labelled(table.prompts, table.categories, features_of(BagOfWords(), table.prompts))
    options = FitOptions(classifier="centroid", correction=False, jobs=1)
    return fit(labelled, table, BagOfWords(), options, scored=np.arange(len(table))).composition


@pytest.fixture(scope="module")
def shipped(encoder: Encoder) -> Router:
    return Router(encoder, load_composition(Path("routers/compositions/cpu")))


def test_a_variant_counts_with_where_it_goes_and_what_that_scores() -> None:
    """The synonyms of "Write" are the other category's words."""
    table = written(2).take([0, 1])
    router = Router(BagOfWords(), by_first_word())
    found = {each.kind: each for each in steadiness(router, table.prompts, table)}
    moved, kept = found["synonyms"], found["JSON"]
    assert moved.gains is not None and kept.gains is not None
    assert (moved.prompts, moved.same_expert, moved.same_category) == (2, 0, 0)
    assert moved.gains.tolist() == [-1, -1]
    assert (kept.prompts, kept.same_expert, kept.same_category) == (2, 2, 2)
    assert kept.gains.tolist() == [0, 0]


def test_templates_move_none_of_our_test_prompts(shipped: Router) -> None:
    prompts = [seed.prompt for seed in load_seeds("test")][::28]
    found = [each for each in steadiness(shipped, prompts) if each.kind in TEMPLATES]
    assert {each.kind for each in found} == TEMPLATES
    for each in found:
        assert (each.kind, each.same_category) == (each.kind, each.prompts)
        assert each.gains is None


def test_translations_are_mostly_another_category(shipped: Router) -> None:
    found = translated(shipped)
    assert [each.kind for each in found] == ["de", "fr", "es"]
    assert all(each.same_category < each.prompts / 2 for each in found)


def test_a_composition_of_a_table_is_judged_on_other_prompts(tmp_path: Path, encoder: Encoder) -> None:
    table = written(100)
    twice = tuple(prompt for prompt in table.prompts[::2] for _ in range(2))
    write_table(replace(table, prompts=twice), tmp_path / "tables" / "written")
    setting = RoutingSetting("written", options=("--classifier", "centroid", "--no-correction"))
    composition, held_out = fit_on_part(setting, tmp_path / "tables", tmp_path / "out", fitted=80, judged=10)
    fitted_on = read_outcomes(tmp_path / "out" / "written" / "fit")
    assert (len(fitted_on), len(held_out)) == (80, 10)
    assert not set(fitted_on.prompts) & set(held_out.prompts)
    assert set(held_out.categories) == set(OPENINGS), "drawn, not the first ones"
    found = steadiness(Router(encoder, composition), held_out.prompts, held_out)
    for each in found:
        assert each.gains is not None
        assert np.count_nonzero(each.gains) == each.prompts - each.same_expert
    assert lines(found)[-1].count("|") == lines(found)[0].count("|")


def test_the_mean_score_counts_each_prompt_once() -> None:
    found = [
        Steadiness("first", (0, 1), 1, 2, np.asarray([1.0, 0.0])),
        Steadiness("second", (1, 2), 2, 2, np.asarray([-1.0, np.nan])),
    ]
    assert gains_by_prompt(found).tolist() == [1.0, -0.5]
    rows = lines(found)
    assert rows[2].startswith("| first | 2 | 0.500 (0.09 to 0.91) | 1.000 (0.34 to 1.00) | +0.5000 (")
    assert rows[-1].startswith("| **mean** | | **0.750** | **1.000** | +0.2500 (")
