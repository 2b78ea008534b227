"""Utilities are means where there is data, and humble where there is little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.utilities import bases_of, estimate_utilities, estimate_with_arms, prior_utilities
from tests.unit.routers.world import card

NAN = float("nan")


def planted(each: int, noise: float, interaction: float, seed: int = 3) -> tuple[np.ndarray, ...]:
    """True utilities (4 categories, 3 experts) with an interaction, and noisy scores of them."""
    random = np.random.default_rng(seed)
    main = np.asarray([0.45, 0.5, 0.6])[None, :] + np.asarray([-0.05, 0, 0.05, 0])[:, None]
    truth = np.clip(main + random.normal(0, interaction, main.shape), 0.02, 0.98)
    labels = np.repeat(np.arange(4), each)
    scores = np.clip(truth[labels] + random.normal(0, noise, (len(labels), 3)), 0, 1)
    return truth, labels, scores.astype(np.float32)


def test_with_plenty_of_scores_the_planted_interaction_is_recovered() -> None:
    truth, labels, scores = planted(each=2_000, noise=0.1, interaction=0.15)
    found = estimate_utilities(scores, labels, 4)
    assert np.abs(found.by_category - truth).max() < 0.02
    assert (found.by_category.argmax(axis=1) == truth.argmax(axis=1)).all()


def test_a_thin_cell_is_drawn_to_what_expert_and_category_say() -> None:
    _, labels, scores = planted(each=300, noise=0.3, interaction=0.05)
    lucky = np.full((1, 3), NAN, dtype=np.float32)
    lucky[0, 0] = 1.0  # one perfect score in a category of its own
    found = estimate_utilities(np.concatenate([scores, lucky]), np.append(labels, 4), 5)
    assert found.counts[4].tolist() == [1, 0, 0]
    # The three experts' utilities differ in the new category hardly more than they do overall.
    spread = found.by_category[4, 0] - found.by_category[4, 1]
    overall = found.overall[0] - found.overall[1]
    assert abs(spread - overall) < 0.1
    assert found.errors[4, 0] > 2 * found.errors[0, 0]


def test_one_lucky_prompt_does_not_make_all_experts_of_its_category_perfect_and_equal() -> None:
    _, labels, scores = planted(each=300, noise=0.3, interaction=0.05)
    found = estimate_utilities(
        np.concatenate([scores, np.ones((1, 3), dtype=np.float32)]), np.append(labels, 4), 5
    )
    assert found.by_category[4].max() < 1
    assert found.by_category[4].argmax() == found.overall.argmax()


def test_shrinkage_beats_plain_cell_means_on_thin_data() -> None:
    plain = shrunk = 0.0
    for seed in range(20):
        truth, labels, scores = planted(each=6, noise=0.3, interaction=0.05, seed=seed)
        means = np.stack([scores[labels == each].mean(axis=0) for each in range(4)])
        plain += float(((means - truth) ** 2).mean())
        shrunk += float(((estimate_utilities(scores, labels, 4).by_category - truth) ** 2).mean())
    assert shrunk < 0.7 * plain


def test_noise_without_interaction_is_not_believed() -> None:
    _, labels, scores = planted(each=20, noise=0.3, interaction=0.0)
    found = estimate_utilities(scores, labels, 4)
    assert found.shrinkage > 20
    assert len(set(found.by_category.argmax(axis=1).tolist())) == 1


def test_a_category_without_scores_takes_the_experts_average_levels() -> None:
    scores = np.asarray([[1, 0], [1, 0], [0.8, 0.2]], dtype=np.float32)
    found = estimate_utilities(scores, np.asarray([0, 0, 1]), 3)
    assert found.counts[2].tolist() == [0, 0]
    assert found.by_category[2] == pytest.approx(found.overall, abs=0.02)


def test_a_missing_score_is_not_a_zero() -> None:
    scores = np.asarray([[0.8, NAN], [0.8, 0.9], [0.8, NAN], [0.8, 0.9]], dtype=np.float32)
    found = estimate_utilities(scores, np.asarray([0, 0, 1, 1]), 2)
    assert found.overall == pytest.approx([0.8, 0.9])
    assert found.by_category == pytest.approx(np.asarray([[0.8, 0.9], [0.8, 0.9]]), abs=1e-3)
    assert found.counts.tolist() == [[2, 1], [2, 1]]


def test_experts_scored_on_unequal_categories_are_compared_fairly() -> None:
    # The second expert was scored mostly where everybody does well, and is worse everywhere.
    easy, hard = [[0.9, 0.8]] * 40, [[0.3, 0.2]]
    easy_labels, first_only = [0] * 40, [[0.3, NAN]] * 39
    scores = np.asarray(easy + hard + first_only, dtype=np.float32)
    found = estimate_utilities(scores, np.asarray(easy_labels + [1] * 40), 2)
    assert found.overall[1] > found.overall[0]  # what the raw means would say
    assert (found.by_category[:, 0] > found.by_category[:, 1]).all()


def test_an_expert_without_any_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        estimate_utilities(np.asarray([[0.5, NAN]], dtype=np.float32), np.asarray([0]), 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.one_of(st.none(), st.floats(0, 1)), st.floats(0, 1)),
        min_size=1,
        max_size=30,
    )
)
def test_utilities_are_finite_scores_for_any_table(rows: list[tuple[int, float | None, float]]) -> None:
    scores = np.asarray([[NAN if a is None else a, b] for _, a, b in rows], dtype=np.float32)
    if np.isnan(scores[:, 0]).all():
        scores[0, 0] = 0.5
    found = estimate_utilities(scores, np.asarray([label for label, _, _ in rows]), 3)
    assert np.all((found.by_category >= 0) & (found.by_category <= 1))
    assert np.all(np.isfinite(found.errors))


def test_before_anything_is_scored_the_larger_expert_is_better_and_the_guess_is_wide() -> None:
    guess = prior_utilities([card("small", 0.1), card("large", 70), card("none", 0)], 3)
    assert guess.by_category.shape == (3, 3)
    assert (guess.by_category[:, 1] > guess.by_category[:, 0]).all()
    assert guess.overall.tolist() == guess.by_category[0].tolist()
    assert (guess.by_category > 0).all()
    assert (guess.counts == 0).all()
    assert (guess.errors >= 0.2).all()


def test_a_prompt_expert_is_guessed_by_the_parameters_that_run() -> None:
    sparse = card("mixture", 46.7, active_params_b=12.9)
    guess = prior_utilities([sparse, card("dense", 12.9)], 1)
    assert guess.overall[0] == guess.overall[1]


def test_an_arm_of_one_category_says_little_of_the_others() -> None:
    """An arm scored where it shines alone must not be thought to shine everywhere."""
    random = np.random.default_rng(3)
    labels = np.repeat(np.arange(6), 40)
    base = (random.random(240) < 0.6).astype(np.float32)
    weak = (random.random(240) < 0.1).astype(np.float32)
    arm = np.where(labels == 0, np.maximum(base, random.random(240) < 0.5), NAN).astype(np.float32)
    scores = np.column_stack([base, weak, arm])
    found = estimate_with_arms(scores, labels, 6, (None, None, 0))
    assert found.by_category[0, 2] > found.by_category[0, 0]
    assert (found.by_category[1:, 2] < found.by_category[1:, 0]).all()
    assert found.overall[2] < found.overall[0]


def test_the_luckiest_of_many_worse_arms_is_not_thought_better() -> None:
    """Six arms that are all a little worse, with 24 prompts a category: one of them leads in most samples."""
    labels = np.repeat(np.arange(10), 24)
    lucky = thought = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        base = random.random((240, 1)) < 0.6
        # Each arm answers half of the prompts anew.
        arms = np.where(random.random((240, 6)) < 0.5, base, random.random((240, 6)) < 0.5)
        scores = np.column_stack([base, arms]).astype(np.float32)
        means = np.stack([scores[labels == each].mean(axis=0) for each in range(10)])
        found = estimate_with_arms(scores, labels, 10, (None, *[0] * 6)).by_category
        lucky += int((means[:, 1:].max(axis=1) > means[:, 0]).sum())
        thought += int((found[:, 1:].max(axis=1) > found[:, 0]).sum())
    assert lucky >= 40
    assert thought <= lucky / 2


def test_an_arm_that_is_surely_better_in_one_category_is_thought_better_there() -> None:
    random = np.random.default_rng(6)
    labels = np.repeat(np.arange(10), 40)
    base = random.random((400, 1)) < 0.5
    arms = np.where(random.random((400, 3)) < 0.5, base, random.random((400, 3)) < 0.3)
    arms[labels == 4, 1] |= random.random(40) < 0.7
    found = estimate_with_arms(
        np.column_stack([base, arms]).astype(np.float32), labels, 10, (None, 0, 0, 0)
    ).by_category
    assert found[4, 2] > found[4, 0] + 0.1
    assert (found[:, [1, 3]] < found[:, [0]]).mean() > 0.9


def test_a_difference_with_less_noise_is_shrunk_less() -> None:
    labels = np.repeat(np.arange(2), 40)
    base = np.full(80, 0.5, dtype=np.float32)
    arm = base + 0.1
    arm[:40] += np.where(np.arange(40) % 2, 0.4, -0.4)
    found = estimate_with_arms(np.column_stack([base, arm]).astype(np.float32), labels, 2, (None, 0))
    assert found.by_category[1, 1] > found.by_category[0, 1] > 0.5
    assert found.errors[1, 1] < found.errors[0, 1]


def test_without_arms_nothing_changes() -> None:
    random = np.random.default_rng(4)
    labels = np.repeat(np.arange(3), 20)
    scores = random.random((60, 2)).astype(np.float32)
    plain = estimate_utilities(scores, labels, 3)
    assert np.array_equal(estimate_with_arms(scores, labels, 3, (None, None)).by_category, plain.by_category)


def test_columns_know_their_bases() -> None:
    cards = (card("plain"), card("arm", base="plain"), card("stray", base="elsewhere"))
    assert bases_of(cards) == (None, 0, None)
