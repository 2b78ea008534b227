"""The request corrects its category where something in it tells the experts apart, and only there."""

from pathlib import Path

import numpy as np
import pytest

from routers.composition import load_composition, save_composition
from routers.decide import decide
from routers.estimate import estimate, estimate_table
from routers.features import features_of
from routers.fitting import Fit, FitError, FitOptions, Labelled, fit
from routers.fitting.corrections import blend_weights, relevance, with_expected
from routers.fitting.stages import StageCache
from routers.outcome_table import OutcomeTable
from tests.unit.routers.world import BagOfWords, card, request

WORDS = {
    "coding": ("python", "function", "bug", "compile", "loop", "array", "class", "debug", "script"),
    "cooking": ("recipe", "oven", "flour", "butter", "simmer", "garlic", "roast", "dough", "sauce"),
}
EXPERTS = (card("small", 7), card("middle", 30), card("large", 70))


def planted(signal: float, rows: int = 300, seed: int = 0) -> tuple[Labelled, OutcomeTable]:
    """Half of the prompts list clues by number. With `signal` 1 only the large expert manages those."""
    random = np.random.default_rng(seed)
    categories = tuple(str(each) for each in random.choice(list(WORDS), rows))
    listed = random.random(rows) < 0.5
    texts = tuple(
        " ".join(random.choice(WORDS[name], 5)) + f" {row}" + ("\n1. one\n2. two\n3. three" if lists else "")
        for row, (name, lists) in enumerate(zip(categories, listed, strict=True))
    )
    truth = np.full((rows, 3), 0.6)
    truth[listed] += np.asarray([-0.5, -0.4, 0.3]) * signal
    scores = (random.random(truth.shape) < truth).astype(np.float32)
    uids = tuple(str(row) for row in range(rows))
    table = OutcomeTable(uids, categories, texts, EXPERTS, scores)
    return Labelled(texts, categories, features_of(BagOfWords(), texts)), table


def fitted(signal: float = 1.0, stages: StageCache | None = None, **options: object) -> Fit:
    """`stages` keeps the forests of folds, which all fits to the same table share."""
    labelled, table = planted(signal)
    chosen = FitOptions(**{"classifier": "centroid", "jobs": 1, **options})  # type: ignore[arg-type]
    return fit(labelled, table, BagOfWords(), chosen, scored=np.arange(len(table)), stages=stages)


SIZE_COUNTS = 0.004
"""An active weight: the large expert is worth its size where clues are listed, and only there."""


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> StageCache:
    return StageCache(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def corrected(stages: StageCache) -> Fit:
    return fitted(stages=stages, active_weight=SIZE_COUNTS)


def test_what_the_format_tells_is_found_and_kept(corrected: Fit) -> None:
    assert corrected.correction is not None
    assert corrected.composition.correction is not None
    facts = corrected.composition.manifest["correction"]
    assert facts["kept"]
    assert facts["explained"]["correction"] > facts["explained"]["category"] + 0.1
    # The same words, with clues and without: another expert leads, by the correction alone.
    plain, listed = features_of(
        BagOfWords(), ["bug loop array class debug", "bug loop array class debug\n1. one\n2. two\n3. three"]
    )
    made = corrected.composition
    expected = estimate(made, np.stack([plain, listed])).expected
    assert expected[1, 2] - expected[1, 0] > expected[0, 2] - expected[0, 0] + 0.3
    assert decide(request(plain), made, made.policy).expert == "small"
    decision = decide(request(listed), made, made.policy)
    assert decision.expert == "large"
    assert decision.ranking[0].correction > 0.05


def test_what_is_not_seen_to_make_decisions_better_is_left_out(stages: StageCache) -> None:
    """Where size costs nothing the large expert is never worse, whatever the request adds."""
    made = fitted(stages=stages)
    facts = made.composition.manifest["correction"]
    assert facts["gain"] > facts["error"]
    assert not facts["kept"]
    assert made.composition.correction is None
    assert "decisions" in facts["why"]


def test_it_can_be_asked_for_whatever_decisions_gain(stages: StageCache) -> None:
    assert fitted(stages=stages, correction=True).composition.correction is not None


def test_noise_is_not_corrected_for() -> None:
    made = fitted(signal=0.0)
    assert made.composition.correction is None
    assert not made.composition.manifest["correction"]["kept"]


def test_it_can_be_declined(stages: StageCache) -> None:
    assert fitted(stages=stages, correction=False).composition.correction is None


def test_corrections_sum_to_zero_and_one_row_equals_many(corrected: Fit) -> None:
    labelled, _ = planted(1.0, seed=5)
    many = estimate_table(corrected.composition, labelled.features, threads=2)
    assert np.abs(many.corrections.sum(axis=1)).max() < 1e-4
    assert many.posterior.sum(axis=1) == pytest.approx(1, abs=1e-5)
    ones = np.concatenate(
        [estimate(corrected.composition, row[None]).expected for row in labelled.features[:20]]
    )
    assert ones == pytest.approx(many.expected[:20], abs=1e-5)


def test_it_survives_saving(corrected: Fit, tmp_path: Path) -> None:
    save_composition(corrected.composition, tmp_path / "made", corrected.evidence)
    loaded = load_composition(tmp_path / "made")
    labelled, _ = planted(1.0, 50, seed=6)
    before = estimate(corrected.composition, labelled.features).expected
    assert estimate(loaded, labelled.features).expected == pytest.approx(before, abs=1e-6)


def test_the_same_seed_gives_the_same_correction(corrected: Fit) -> None:
    again = fitted(active_weight=SIZE_COUNTS)
    assert again.composition.correction is not None and corrected.composition.correction is not None
    one, other = again.composition.correction.arrays(), corrected.composition.correction.arrays()
    assert set(one) == set(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("target", [10.0, 25.0, 45.0])
def test_a_target_is_met_on_held_out_prompts(stages: StageCache, target: float) -> None:
    made = fitted(stages=stages, target_active_b=target)
    spent = made.composition.manifest["held_out"]["active_params_b"]
    assert spent <= target + 1e-9
    assert spent > target - 15


def test_a_target_below_the_smallest_expert_is_an_error(stages: StageCache) -> None:
    with pytest.raises(FitError, match="out of reach"):
        fitted(stages=stages, target_active_b=5.0)


def test_a_target_and_a_weight_contradict_each_other() -> None:
    with pytest.raises(FitError, match="not both"):
        FitOptions(target_active_b=31, active_weight=0.1)


def test_a_resident_budget_holds_with_a_correction() -> None:
    made = fitted(resident_budget_b=40).composition
    assert sum(each.params_b for each in made.experts) <= 40
    assert made.correction is None or len(made.correction.means) == len(made.experts)


def test_unknown_scores_are_taken_as_expected_and_those_of_arms_as_their_base_lets_expect() -> None:
    nan = np.nan
    scores = np.asarray([[1.0, 0.5, 0.25], [1.0, nan, nan], [nan, 0.0, nan]], dtype=np.float32)
    category = np.asarray([[0.5, 0.25, 0.625]] * 3, dtype=np.float32)
    known = with_expected(scores, category, (None, None, 0))
    assert known.tolist() == [[1.0, 0.5, 0.25], [1.0, 0.25, 1.125], [0.5, 0.0, 0.625]]


def test_relevance_is_full_on_the_best_mixes_and_small_far_below() -> None:
    means = np.asarray([0.5, 0.4, 0.7, 0.3])
    found = relevance(means, np.asarray([7, 7, 70, 70], dtype=np.float32))
    assert found[0] == found[2] == 1
    assert found[1] == pytest.approx(np.exp(-2))
    assert found[3] < 0.01


def test_parts_are_believed_as_far_as_they_predict() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(600, 3))
    good, noise = 2 * truth, random.normal(size=(600, 3))
    assert blend_weights(good, noise, truth, np.ones(3)) == pytest.approx((0.5, 0), abs=0.02)
    assert blend_weights(noise, good, truth, np.ones(3)) == pytest.approx((0, 0.5), abs=0.02)
