"""Replay judges on unseen prompts only, beside baselines that were chosen on the fitting data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.baselines import best_single, kmeans_choices, knn_choices
from eval.composition_replay import CompositionReplayError, Replay, replay
from eval.decontamination import fitted_prompts
from eval.drawing import draw_curve
from eval.paired_comparison import paired_interval
from routers.classifiers import CentroidClassifier
from routers.composition import Composition, ExpertCard
from routers.evidence import Evidence, prompt_digest
from routers.features import features_of
from routers.outcome_table import OutcomeError, OutcomeTable
from routers.policy import Policy
from tests.unit.routers.world import BagOfWords, card, composition

TOPICS = {"coding": "function loop compile bug", "law": "contract court tenant clause"}
CARDS = (card("coder", 2.0), card("lawyer", 4.0))


def prompts_of(topic: str, count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    words = TOPICS[topic].split()
    return [" ".join(random.choice(words, 6)) + f" {topic}{seed}n{i}" for i in range(count)]


def table(seed: int, count: int = 40, experts: Sequence[ExpertCard] = CARDS) -> OutcomeTable:
    """Each expert is right about its own topic, and about half of the other's."""
    prompts, categories, scores = [], [], []
    random = np.random.default_rng(seed)
    for column, topic in enumerate(("coding", "law")):
        for prompt in prompts_of(topic, count, seed):
            row = (random.random(len(experts)) < 0.5).astype(np.float32)
            row[column] = 1.0
            prompts.append(prompt)
            categories.append(topic)
            scores.append(row)
    uids = tuple(f"{seed}-{i}" for i in range(len(prompts)))
    return OutcomeTable(uids, tuple(categories), tuple(prompts), tuple(experts), np.stack(scores))


def fitted(on: OutcomeTable) -> tuple[Composition, Evidence]:
    features = features_of(BagOfWords(), on.prompts)
    labels = np.asarray([("coding", "law").index(each) for each in on.categories])
    composed = composition(
        CARDS,
        [[1.0, 0.5], [0.5, 1.0]],
        Policy("lawyer", threshold=0.0),
        stage1=CentroidClassifier.fit(features, labels, 2),
        categories=("coding", "law"),
        prototypes=features[:4, :384],
    )
    digests = tuple(prompt_digest(prompt) for prompt in on.prompts)
    return composed, Evidence(features[:, :384], on.scores, labels, digests, ("coder", "lawyer"))


def replayed(on: OutcomeTable, *, with_evidence: bool = True, **options: Any) -> Replay:
    composed, evidence = fitted(table(1))
    given = {"fitted": fitted_prompts(table(1).prompts), **options}
    return replay(composed, evidence if with_evidence else None, on, BagOfWords(), **given)


def test_a_router_that_knows_the_topics_beats_the_best_single_expert() -> None:
    found = replayed(table(2))
    assert found.n == 80
    assert found.score == pytest.approx(1.0)
    assert found.category_accuracy == pytest.approx(1.0)
    assert found.baselines["best_single"].difference.low > 0
    assert found.baselines["oracle"].theirs == pytest.approx(found.baselines["category_oracle"].theirs)
    assert found.baselines["best_single"].theirs < found.baselines["knn"].theirs


def test_prompts_that_were_fitted_on_are_left_out_and_counted() -> None:
    seen, unseen = table(1), table(2)
    both = OutcomeTable(
        seen.uids + unseen.uids,
        seen.categories + unseen.categories,
        seen.prompts + unseen.prompts,
        seen.experts,
        np.concatenate([seen.scores, unseen.scores]),
    )
    found = replayed(both)
    assert (found.n, found.left_out_seen) == (80, 80)
    assert found.score == replayed(unseen).score


def test_a_table_of_fitting_prompts_alone_is_refused() -> None:
    with pytest.raises(CompositionReplayError, match="80 were fitted on"):
        replayed(table(1))


def near_copies(count: int, beside: OutcomeTable) -> OutcomeTable:
    """`beside` with its first prompts replaced by long stories that are known but for their end."""
    prompts = tuple(f"{long_story(row)} Now or then?" for row in range(count))
    return replace(beside, prompts=prompts + beside.prompts[count:])


def long_story(row: int) -> str:
    random = np.random.default_rng(row)
    return " ".join("".join(random.choice(list("abcdefghijk"), 6)) for _ in range(60))


@pytest.mark.parametrize(("copies", "judged"), [(4, 80), (20, 60)])
def test_a_few_lookalikes_are_judged_on_and_many_are_left_out(copies: int, judged: int) -> None:
    known = fitted_prompts([long_story(row) for row in range(copies)])
    found = replayed(near_copies(copies, table(2)), fitted=known)
    assert found.n == judged
    assert found.alike == (copies if judged == 80 else 0)
    assert found.left_out_near == 80 - judged
    assert found.document()["lookalikes"]["n"] == found.alike


def test_a_prompt_whose_expert_has_no_score_is_left_out_and_the_others_are_judged() -> None:
    held = table(2)
    held.scores[:10, 0] = np.nan  # about code, so they go to the coder
    held.scores[40:60, 0] = np.nan  # about law
    found = replayed(held)
    assert (found.n, found.left_out_unscored, found.unscored) == (70, 10, {"coder": 10})
    assert (found.against, found.baselines["best_single"].n) == ("coder", 50)
    assert (found.complete, found.baselines["oracle"].n) == (50, 50)
    assert found.document()["left_out"]["unscored_by_expert"] == {"coder": 10}


def test_baselines_of_whole_rows_are_left_out_where_no_row_is_whole() -> None:
    held = table(2)
    held.scores[:40, 1] = held.scores[40:, 0] = np.nan
    found = replayed(held)
    assert (found.n, found.complete, found.curve) == (80, 0, None)
    assert "oracle" not in found.document()["baselines"]
    with pytest.raises(CompositionReplayError, match="no picture"):
        draw_curve(found, Path("unused.png"))


def test_a_table_without_a_score_of_the_chosen_experts_is_refused() -> None:
    held = table(2)
    held.scores[:40, 0] = held.scores[40:, 1] = np.nan
    with pytest.raises(CompositionReplayError, match="80 are not scored for the expert that they go to"):
        replayed(held)


def test_a_named_expert_is_compared_in_score_and_compute_by_category() -> None:
    held = table(2)
    counts = np.full_like(held.scores, 50)
    held = replace(held, tokens_in=counts, tokens_out=counts)

    found = replayed(held, against="lawyer")

    lawyer = found.baselines["lawyer"]
    assert lawyer.difference.difference == pytest.approx(found.score - held.scores[:, 1].mean())
    assert lawyer.compute_ratio == pytest.approx((40 * 2.0 + 40 * 4.0) / (80 * 4.0))
    coding, law = found.by_category
    assert coding.experts == (("coder", 40),) and law.experts == (("lawyer", 40),)
    assert coding.comparison is not None and coding.comparison.compute_ratio == pytest.approx(0.5)
    assert law.comparison is not None and law.comparison.difference.difference == 0
    assert found.document()["by_category"][0]["rival"] == pytest.approx(held.scores[:40, 1].mean())
    with pytest.raises(CompositionReplayError, match=r"no expert judge: it has coder, lawyer"):
        replayed(held, against="judge")


def test_without_evidence_only_baselines_that_need_none_are_left() -> None:
    found = replayed(table(2), with_evidence=False)
    assert set(found.baselines) == {"random", "best_single", "oracle"}
    assert found.score == replayed(table(2)).score


def test_a_further_expert_is_ignored_and_a_missing_one_named() -> None:
    more = table(2, experts=(*CARDS, card("further", 9.0)))
    assert set(replayed(more).document()["singles"]) == {"coder", "lawyer"}
    with pytest.raises(OutcomeError, match="lawyer"):
        replayed(more.keep_experts(["coder", "further"]))


def test_unknown_categories_are_scored_without_a_category_accuracy() -> None:
    held = table(2)
    renamed = OutcomeTable(held.uids, ("other",) * len(held), held.prompts, held.experts, held.scores)
    found = replayed(renamed)
    assert found.category_accuracy is None
    assert found.ece is None
    assert found.baselines["category_oracle"].theirs == found.baselines["best_single"].theirs


def test_the_document_has_the_promised_fields() -> None:
    document = replayed(table(2)).document()
    promised = {"n", "score", "active_params_b", "price", "category_accuracy", "ece", "baselines", "curve"}
    assert promised <= set(document)
    assert set(document["baselines"]) == {
        "random",
        "best_single",
        "knn",
        "kmeans",
        "category_oracle",
        "oracle",
    }
    assert all(set(point) == {"active_params_b", "score"} for point in document["curve"])


def test_nearest_and_clustered_prompts_find_the_planted_experts() -> None:
    _, evidence = fitted(table(1))
    unseen = BagOfWords().encode(table(2).prompts)
    expected = np.repeat([0, 1], 40)
    assert (knn_choices(evidence, unseen) == expected).mean() > 0.9
    assert (kmeans_choices(evidence, unseen) == expected).mean() > 0.9
    assert best_single(evidence) == int(evidence.scores.mean(axis=0).argmax())


def test_an_interval_covers_no_difference_between_equals() -> None:
    random = np.random.default_rng(0)
    same = random.random(400)
    noisy = same + random.normal(0, 0.1, 400)
    found = paired_interval(same, noisy)
    assert found.low < found.difference < found.high
    assert found.low < 0 < found.high
    assert paired_interval(same + 1, same).low == pytest.approx(1.0)
