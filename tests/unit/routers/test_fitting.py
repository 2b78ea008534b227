"""Fitting learns stage 1 and stage 2 from data, chooses on what it has not seen, and says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routers.classifiers import CLASSIFIERS
from routers.composition import Composition, load_composition, save_composition
from routers.decide import decide
from routers.decision import Reason
from routers.features import features_of
from routers.fitting import FitError, FitOptions, Labelled
from routers.fitting import fit as fit_all
from routers.fitting.fit_report import gain_text
from routers.mapping import BudgetTooSmall
from routers.outcome_table import OutcomeTable
from tests.unit.routers.world import BagOfWords, card, request

WORDS = {
    "coding": ("python", "function", "bug", "compile", "loop", "array", "class", "debug", "script"),
    "cooking": ("recipe", "oven", "flour", "butter", "simmer", "garlic", "roast", "dough", "sauce"),
    "travel": ("flight", "hotel", "beach", "visa", "luggage", "museum", "train", "island", "tour"),
}
EXPERTS = (card("small", 1), card("coder", 7), card("large", 70))
TRUTH = {"coding": (0.2, 0.9, 0.7), "cooking": (0.5, 0.3, 0.8), "travel": (0.6, 0.2, 0.7)}


def prompts(each: int, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Prompts of five words of a category and a common one, and their categories."""
    random = np.random.default_rng(seed)
    categories = [name for name in WORDS for _ in range(each)]
    texts = [" ".join(["please", *random.choice(WORDS[name], 5)]) for name in categories]
    return tuple(texts), tuple(categories)


def labelled(each: int = 25, mislabelled: float = 0.0) -> Labelled:
    texts, categories = prompts(each)
    random = np.random.default_rng(1)
    noisy = tuple(
        str(random.choice(list(WORDS))) if random.random() < mislabelled else name for name in categories
    )
    return Labelled(texts, noisy, features_of(BagOfWords(), texts))


def outcomes(each: int = 50) -> OutcomeTable:
    texts, categories = prompts(each, seed=2)
    random = np.random.default_rng(3)
    truth = np.asarray([TRUTH[name] for name in categories])
    scores = (random.random(truth.shape) < truth).astype(np.float32)
    uids = tuple(str(row) for row in range(len(texts)))
    return OutcomeTable(uids, categories, texts, EXPERTS, scores)


NOTHING_SCORED = OutcomeTable((), (), (), EXPERTS, np.zeros((0, 3), dtype=np.float32))


def fit(table: OutcomeTable | None = None, data: Labelled | None = None, **options: object) -> Composition:
    chosen = FitOptions(**{"classifier": "centroid", **options})  # type: ignore[arg-type]
    table = outcomes() if table is None else table
    return fit_all(data or labelled(), table, BagOfWords(), chosen).composition


@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_each_classifier_makes_a_composition_that_routes_by_what_was_scored(classifier: str) -> None:
    made = fit(classifier=classifier)
    assert made.classifier_name == classifier
    assert made.map == {"coding": "coder", "cooking": "large", "travel": "large"}
    asked = features_of(BagOfWords(), ["please debug the python loop in this function"])[0]
    decision = decide(request(asked), made, made.policy)
    assert (decision.category, decision.expert, decision.reason) == ("coding", "coder", Reason.MATCHED)


def test_a_weight_on_size_moves_what_gains_little() -> None:
    assert fit(active_weight=0.004).map["travel"] == "small"
    assert fit(active_weight=0.004).map["coding"] == "coder"


def test_auto_takes_the_classifier_of_least_held_out_loss() -> None:
    made = fit(classifier="auto")
    losses = made.manifest["held_out"]["log_loss"]
    assert set(losses) == set(CLASSIFIERS)
    assert made.classifier_name == min(losses, key=losses.__getitem__)


def test_the_same_data_and_seed_give_the_same_composition() -> None:
    one, other = fit(seed=4), fit(seed=4)
    assert one.temperature == other.temperature
    assert one.policy == other.policy
    assert np.array_equal(one.utilities, other.utilities)
    assert dict(one.manifest) == dict(other.manifest)


def test_noisy_labels_give_less_confidence_and_a_threshold_that_holds() -> None:
    made = fit(data=labelled(80, mislabelled=0.3), sure_accuracy=0.75)
    clean = fit(sure_accuracy=0.75)
    assert made.manifest["held_out"]["accuracy"] < 0.9 < clean.manifest["held_out"]["accuracy"]
    assert made.manifest["held_out"]["ece"] < 0.12
    when_sure = made.manifest["held_out"]["accuracy_when_sure"]
    assert when_sure is None or when_sure >= 0.74


def test_nonsense_far_from_all_prompts_goes_to_the_generalist() -> None:
    made = fit()
    nonsense = features_of(BagOfWords(), ["qwz blorf xyzzy grault plugh"])[0]
    decision = decide(request(nonsense), made, made.policy)
    assert decision.reason is Reason.UNCERTAIN
    assert decision.expert == made.policy.generalist == "large"


def test_a_resident_budget_keeps_what_fits_and_a_generalist_among_them() -> None:
    made = fit(resident_budget_b=8)
    assert made.expert_names == ("small", "coder")
    assert made.policy.generalist in made.expert_names
    assert made.utilities.shape == (3, 2)
    assert made.map == {"coding": "coder", "cooking": "small", "travel": "small"}


def test_what_is_not_kept_loaded_has_the_price_of_a_switch() -> None:
    """70 B are loaded at once: the large one, or both others."""
    cheap = fit(loaded_b=70, wake_weight=1e-6, wake_s=2.0)
    assert cheap.map == {"coding": "coder", "cooking": "large", "travel": "large"}
    assert cheap.manifest["residency"]["loaded"] == ["large"]
    assert cheap.policy.wake_costs == {"coder": pytest.approx(4e-6)}
    dear = fit(loaded_b=70, wake_weight=0.5, wake_s=2.0)
    assert dear.manifest["residency"]["switches_per_request"] == 0
    rarely = fit(loaded_b=70, wake_weight=0.5, wake_s=2.0, run=1e6)
    assert rarely.map == cheap.map, "one of very many requests in a row waits"


def test_the_price_of_a_switch_is_kept_with_the_composition(tmp_path: Path) -> None:
    made = fit(loaded_b=70, wake_weight=1e-3, wake_s=2.0, run=100.0)
    save_composition(made, tmp_path / "made")
    read = load_composition(tmp_path / "made")
    assert read.policy.wake_costs == made.policy.wake_costs != {}
    assert read.map == made.map


def test_a_budget_for_nobody_is_an_error() -> None:
    with pytest.raises(BudgetTooSmall, match="small with 1 B"):
        fit(resident_budget_b=0.5)


def test_a_pool_that_nobody_has_scored_serves_by_a_stated_guess() -> None:
    made = fit(NOTHING_SCORED)
    assert set(made.map.values()) == {"large"}
    assert made.manifest["data"]["scored_prompts"] == 0
    assert "guess" in made.manifest["data"]["utilities"]
    assert (made.counts == 0).all()


def test_the_manifest_says_what_was_scored() -> None:
    table = outcomes(20)
    table.scores[:10, 0] = np.nan
    made = fit(table)
    assert made.manifest["data"]["scores_per_expert"] == {"small": 50, "coder": 60, "large": 60}


def test_experts_that_were_scored_on_hardly_any_prompt_in_common_have_no_certain_difference() -> None:
    def said(gain: float | None, error: float | None) -> str:
        return gain_text({"gain_over_best_single": gain, "gain_error": error})

    assert said(None, None).startswith("no held-out prompt is scored")
    assert said(0.5, None) == "a paired difference of +0.5000 from one prompt"
    assert said(0.5, 0.1) == "a paired difference of +0.5000 ± 0.1000 (standard error)"


def test_an_expert_that_nobody_scored_is_named() -> None:
    table = outcomes(20)
    table.scores[:, 1] = np.nan
    with pytest.raises(FitError, match="no score of coder"):
        fit(table)


def test_an_expert_with_scores_in_one_fold_alone_is_named() -> None:
    table = outcomes(20)
    table.scores[1:, 1] = np.nan
    data = Labelled(table.prompts, table.categories, features_of(BagOfWords(), table.prompts))
    with pytest.raises(FitError, match="scores of coder"):
        fit_all(table=table, labelled=data, encoder=BagOfWords(), options=FitOptions(), scored=np.arange(60))


def test_experts_that_are_equal_everywhere_go_by_size() -> None:
    table = outcomes(20)
    table.scores[:] = 1.0
    made = fit(table)
    smallest = min(made.experts, key=lambda card: (card.active_params_b, card.name)).name
    assert set(made.map.values()) == {smallest}


def test_too_few_prompts_of_a_category_are_named() -> None:
    texts, categories = prompts(10)
    few = Labelled(texts[:23], categories[:23], features_of(BagOfWords(), texts[:23]))
    with pytest.raises(FitError, match="too few of travel"):
        fit(data=few)


def test_one_category_is_nothing_to_tell_apart() -> None:
    texts, categories = prompts(10)
    with pytest.raises(FitError, match="at least two categories"):
        fit(data=Labelled(texts[:10], categories[:10], features_of(BagOfWords(), texts[:10])))


def test_scores_in_a_category_without_labelled_prompts_are_named() -> None:
    table = outcomes(10)
    with pytest.raises(FitError, match="without labelled prompts: gardening"):
        fit(replace(table, categories=("gardening", *table.categories[1:])))


def test_an_unknown_classifier_is_named_with_the_known_ones() -> None:
    with pytest.raises(FitError, match=r"'forest'.* auto, knn, logistic, centroid"):
        fit(classifier="forest")
