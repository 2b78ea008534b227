"""A newcomer's row starts from its peers and follows its scores; nothing else in the composition moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.composition import load_composition, save_composition
from routers.correction import Correction, Projection
from routers.decide import decide
from routers.estimate import estimate
from routers.fitting.trees import grow
from routers.new_expert import (
    LEAST_ERROR_UNSCORED,
    AddExpertError,
    DescriptionSimilarity,
    ScoredPrompts,
    UtilityRow,
    estimate_row,
    extend_composition,
)
from routers.request import Matrix
from routers.request_costs import ExpectedTokens
from tests.unit.routers.world import (
    CATEGORIES,
    CODER,
    LARGE,
    SMALL,
    UTILITIES,
    about,
    card,
    composition,
    request,
)

EXPERTS = (SMALL, CODER, LARGE, card("middling", 8.0))
KNOWN: Matrix = np.asarray([(*row, 0.6) for row in UTILITIES], dtype=np.float32)
NEW = card("new", 60.0)


def scored(category: int, scores: list[float], others: Matrix | None = None) -> ScoredPrompts:
    rows = np.tile(np.eye(len(CATEGORIES), dtype=np.float32)[category], (len(scores), 1))
    blank = np.full((len(scores), len(EXPERTS)), np.nan, dtype=np.float32)
    return ScoredPrompts(rows, np.asarray(scores, dtype=np.float32), blank if others is None else others)


def row(
    what: ScoredPrompts | None = None, similarity: DescriptionSimilarity | None = None, size: float = 60.0
) -> UtilityRow:
    return estimate_row(EXPERTS, KNOWN, card("new", size), what, similarity)


def test_without_scores_a_newcomer_is_like_the_experts_of_its_size() -> None:
    large, small = row(size=60.0), row(size=0.1)
    assert max(large.peers, key=lambda name: large.peers[name]) == "large"
    assert large.utilities[CATEGORIES.index("law")] > small.utilities[CATEGORIES.index("law")] + 0.3
    assert (large.errors >= LEAST_ERROR_UNSCORED).all()
    assert not large.counts.any()


def test_scores_move_their_own_category_most_and_the_others_a_little() -> None:
    before, after = row(), row(scored(0, [0.0] * 30))
    moved = before.utilities - after.utilities
    assert moved[0] > 0.3
    assert 0 < max(abs(moved[1]), abs(moved[2])) < moved[0]
    assert after.errors[0] < min(after.errors[1], after.errors[2])
    assert after.counts.tolist() == [30, 0, 0]


def test_many_scores_outweigh_the_prior() -> None:
    answers = [0.0, 1.0, 1.0, 1.0] * 200
    assert row(scored(0, answers), size=0.1).utilities[0] == pytest.approx(0.75, abs=0.02)


def test_a_hard_prompt_that_everybody_missed_says_little() -> None:
    easy = np.tile(KNOWN[0], (12, 1)).astype(np.float32)
    missed = np.zeros((12, len(EXPERTS)), dtype=np.float32)
    # Twelve ordinary prompts and twelve that nobody can answer.
    others = np.concatenate([easy, missed])
    scores = [0.7] * 12 + [0.0] * 12
    blind = row(scored(0, scores)).utilities[0]
    knowing = row(scored(0, scores, others)).utilities[0]
    assert knowing > blind + 0.05


def test_a_description_lifts_the_categories_that_it_is_near() -> None:
    similarity = DescriptionSimilarity(
        np.asarray([0.1, 0.6, 0.1], dtype=np.float32), np.full(4, np.nan, dtype=np.float32)
    )
    plain, described = row(), row(similarity=similarity)
    moved = described.utilities - plain.utilities
    assert moved[1] > 0 > moved[0]
    assert (described.errors >= LEAST_ERROR_UNSCORED).all()


def test_a_description_like_anothers_makes_it_a_peer() -> None:
    near = np.asarray([0.0, 0.9, 0.0, np.nan], dtype=np.float32)
    flat = np.zeros(3, dtype=np.float32)
    assert row(similarity=DescriptionSimilarity(flat, near)).peers["coder"] > 3 * row().peers["coder"]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0])), max_size=40))
def test_a_row_is_within_bounds_and_scores_only_narrow_it(answers: list[tuple[int, float]]) -> None:
    rows = np.zeros((len(answers), 3), dtype=np.float32)
    for at, (category, _) in enumerate(answers):
        rows[at, category] = 1
    what = ScoredPrompts(
        rows,
        np.asarray([score for _, score in answers], dtype=np.float32),
        np.full((len(answers), len(EXPERTS)), np.nan, dtype=np.float32),
    )
    found = row(what)
    assert ((found.utilities >= 0) & (found.utilities <= 1)).all()
    assert np.isfinite(found.errors).all() and (found.errors > 0).all()
    assert sum(found.peers.values()) == pytest.approx(1, abs=0.01)
    more = row(ScoredPrompts(np.tile(rows, (2, 1)), np.tile(what.scores, 2), np.tile(what.others, (2, 1))))
    if answers:
        assert (more.errors <= found.errors + 1e-6).all()


def corrected() -> Correction:
    """One that doubles every contrast of the category, and whose forest adds nothing."""
    none: Matrix = np.zeros((4, len(EXPERTS)), dtype=np.float32)
    return Correction(
        Projection(np.zeros((4, 1), dtype=np.float32), np.zeros(4, dtype=np.float32)),
        grow(none, none, trees=1, seed=0, cores=1).forest,
        2 * np.eye(len(EXPERTS), dtype=np.float32),
        np.zeros(len(EXPERTS), dtype=np.float32),
    )


def test_the_others_keep_their_rows_and_corrections_and_the_newcomer_has_none() -> None:
    world = composition(EXPERTS, KNOWN.tolist(), correction=corrected())
    found = extend_composition(world, NEW, row(), {"from": ["description"]})
    assert found.expert_names == (*world.expert_names, "new")
    assert np.array_equal(found.utilities[:, :-1], world.utilities)
    features = np.stack([about("coding"), about("law")])
    before, after = estimate(world, features), estimate(found, features)
    assert np.abs(before.corrections).max() > 0.1
    assert np.allclose(after.corrections[:, :-1], before.corrections)
    assert not after.corrections[:, -1].any()
    assert np.allclose(after.posterior, before.posterior)
    decision = decide(request(about("coding")), found, found.policy)
    assert len(decision.ranking) == 5
    assert next(c for c in decision.ranking if c.expert == "new").correction == 0


def test_the_manifest_says_where_the_row_came_from_and_the_digest_changes(tmp_path: Path) -> None:
    folder = tmp_path
    world = composition(EXPERTS, KNOWN.tolist())
    before = save_composition(world, folder / "before")
    loaded = load_composition(folder / "before")
    one = extend_composition(
        loaded, NEW, row(scored(0, [1.0] * 3)), {"from": ["scored prompts"], "before": before}
    )
    after = save_composition(one, folder / "after")
    two = extend_composition(
        load_composition(folder / "after"), replace(NEW, name="newer"), row(), {"from": ["x"]}
    )
    assert after != before
    joined = two.manifest["joined"]
    assert [each["expert"] for each in joined] == ["new", "newer"]
    assert joined[0]["scores"] == 3 and joined[0]["before"] == before
    assert load_composition(folder / "after").map == one.map


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(AddExpertError, match="'coder' already"):
        extend_composition(composition(), CODER, row(), {})


def test_an_expert_that_joins_takes_tokens_that_nobody_knows(tmp_path: Path) -> None:
    shape = (3, 3)
    tokens = ExpectedTokens(
        np.full(shape, 50, np.float32), np.full(shape, 100, np.float32), np.full(3, 1 / 3, np.float32)
    )
    found = composition(tokens=tokens)
    joined = extend_composition(found, card("new"), row(), {})
    save_composition(joined, tmp_path / "joined")
    again = load_composition(tmp_path / "joined")
    assert again.tokens is not None
    assert np.isnan(again.tokens.tokens_out[:, 3]).all()
    assert np.isfinite(again.tokens.tokens_out[:, :3]).all()
