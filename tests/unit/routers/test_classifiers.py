"""The three classifiers learn what is plainly there, and hold one contract."""

import numpy as np
import pytest

from routers.calibration import softmax
from routers.classifiers import CLASSIFIERS, CentroidClassifier, Classifier, KnnClassifier
from routers.classifiers.knn import EXACT_UP_TO, INDEX_FILE, SMOOTHING
from routers.encoder import DIMENSION
from routers.request import Matrix

LEXICAL = 8
"""Columns behind the embedding; the real ones are many more."""

names = pytest.mark.parametrize("name", sorted(CLASSIFIERS))


def clusters(each: int, categories: int = 3, noise: float = 0.6, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    """Unit embeddings around one direction for each category, with columns of noise behind them."""
    directions = np.random.default_rng(99).normal(size=(categories, DIMENSION))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(categories), each)
    rows = directions[labels] + random.normal(0, noise / np.sqrt(DIMENSION), (len(labels), DIMENSION))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.concatenate([rows, random.normal(0, 0.01, (len(rows), LEXICAL))], axis=1).astype(
        np.float32
    ), labels


def fitted(name: str, each: int = 30, categories: int = 3) -> Classifier:
    features, labels = clusters(each, categories)
    classifier: Classifier = CLASSIFIERS[name].fit(features, labels, categories)
    return classifier


@names
def test_clear_categories_are_told_apart(name: str) -> None:
    features, labels = clusters(20, seed=1)
    logits = fitted(name).logits(features)
    assert logits.shape == (60, 3)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) == labels).mean() > 0.95


@names
def test_two_categories_are_enough(name: str) -> None:
    features, labels = clusters(20, categories=2, seed=1)
    logits = fitted(name, categories=2).logits(features)
    assert logits.shape == (40, 2)
    assert (logits.argmax(axis=1) == labels).mean() > 0.95


@names
def test_one_row_is_scored_as_it_is_among_others(name: str) -> None:
    features, _ = clusters(5, seed=2)
    classifier = fitted(name)
    together = classifier.logits(features)
    alone = np.concatenate([classifier.logits(row[None, :]) for row in features])
    assert np.allclose(together, alone, atol=1e-4)


@names
def test_the_other_way_round_is_less_likely(name: str) -> None:
    features, _ = clusters(1, seed=3)
    opposite = features.copy()
    opposite[0] = -opposite[0]
    posterior = softmax(fitted(name).logits(opposite))
    assert posterior[0, 0] < posterior[1, 1]


@names
def test_a_category_with_many_prompts_and_one_with_few_are_both_found(name: str) -> None:
    features, labels = clusters(100, categories=2)
    few = np.concatenate([np.arange(100), np.arange(100, 108)])
    classifier = CLASSIFIERS[name].fit(features[few], labels[few], 2)
    seen, truth = clusters(20, categories=2, seed=4)
    predicted = classifier.logits(seen).argmax(axis=1)
    assert (predicted[truth == 1] == 1).mean() > 0.5


def test_neighbours_never_make_a_category_impossible() -> None:
    features, _ = clusters(5, seed=5)
    posterior = softmax(fitted("knn").logits(features))
    assert posterior.min() >= SMOOTHING / 3 * 0.99


def test_fewer_prompts_than_neighbours_are_all_asked() -> None:
    features, labels = clusters(2)
    classifier = KnnClassifier.fit(features, labels, 3)
    assert (classifier.logits(features).argmax(axis=1) == labels).all()


def test_the_graph_of_a_large_index_finds_what_the_exact_one_finds() -> None:
    features, labels = clusters(EXACT_UP_TO // 3 + 10, noise=1.5)
    assert len(features) > EXACT_UP_TO
    graph = KnnClassifier.fit(features, labels, 3)
    assert "HNSW" in type(graph.index).__name__
    exact = KnnClassifier.fit(features[:EXACT_UP_TO], labels[:EXACT_UP_TO], 3)
    asked, _ = clusters(30, noise=1.5, seed=6)
    same = graph.logits(asked).argmax(axis=1) == exact.logits(asked).argmax(axis=1)
    assert same.mean() > 0.9


def test_copies_of_a_prompt_do_not_hide_the_others_in_a_graph() -> None:
    features, labels = clusters(EXACT_UP_TO // 3 + 400, noise=1.5)
    for copied in range(0, 3_000, 300):
        features[copied : copied + 300], labels[copied : copied + 300] = features[copied], labels[copied]
    graph = KnnClassifier.fit(features, labels, 3)
    assert graph.index.ntotal == len(features) - 10 * 299 < EXACT_UP_TO
    others, of_others = clusters(EXACT_UP_TO, noise=1.5, seed=1)
    whole = KnnClassifier.fit(np.concatenate([features, others]), np.concatenate([labels, of_others]), 3)
    assert "HNSW" in type(whole.index).__name__
    found = whole.logits(others[::50]).argmax(axis=1)
    assert (found == of_others[::50]).mean() > 0.97


def test_copies_of_a_prompt_outvote_a_single_one_as_near() -> None:
    features, _ = clusters(1, categories=2)
    rows, labels = np.repeat(features[:1], 5, axis=0), np.asarray([0, 1, 1, 1, 1])
    posterior = softmax(KnnClassifier.fit(rows, labels, 2).logits(features[:1]))
    assert posterior[0, 1] == pytest.approx(0.8, abs=0.02)


def test_held_out_neighbours_are_those_of_a_fit_without_the_fold() -> None:
    features, labels = clusters(60, noise=2.5)
    folds = np.arange(len(labels)) % 4
    features[4] = features[8] = features[0]  # copies, in one fold as a fit has them
    held_out = KnnClassifier.held_out_logits(features, labels, 3, folds)
    for fold in range(4):
        others, held = folds != fold, folds == fold
        apart = KnnClassifier.fit(features[others], labels[others], 3).logits(features[held])
        assert np.allclose(held_out[held], apart, atol=1e-5)


def test_a_graph_full_of_near_copies_in_the_same_fold_still_finds_the_other_folds() -> None:
    features, labels = clusters(EXACT_UP_TO // 2, categories=3, noise=1.5)
    folds = np.arange(len(labels)) % 5
    near = np.random.default_rng(3).normal(0, 1e-4, (400, DIMENSION)).astype(np.float32)
    features[:400, :DIMENSION], folds[:400], labels[:400] = features[0, :DIMENSION] + near, 0, 1
    held_out = KnnClassifier.held_out_logits(features, labels, 3, folds)
    assert np.isfinite(held_out).all()
    assert (held_out[:400].argmax(axis=1) == 0).all()  # as their neighbours are, and not as they are labelled


def test_neighbours_that_a_graph_did_not_find_have_no_vote() -> None:
    class Sparse:
        """An index that finds two of three."""

        d = DIMENSION

        def search(self, rows: Matrix, count: int) -> tuple[Matrix, np.ndarray]:
            lost = np.finfo(np.float32).min
            return np.asarray([[0.9, 0.8, lost]], dtype=np.float32), np.asarray([[0, 0, -1]])

    classifier = KnnClassifier(Sparse(), np.asarray([1, 0, 0]), np.ones(3, dtype=np.int64), 2)
    assert softmax(classifier.logits(np.zeros((1, DIMENSION), dtype=np.float32)))[0, 1] > 0.98


def test_far_from_every_centroid_nothing_is_sure() -> None:
    classifier = fitted("centroid")
    near, _ = clusters(1, seed=7)
    far = np.random.default_rng(8).normal(size=(1, DIMENSION + LEXICAL)).astype(np.float32)
    far /= np.linalg.norm(far)
    sureness = [softmax(classifier.logits(rows)).max() for rows in (near[:1], far)]
    assert sureness[0] > 0.9 * sureness[1] + 0.1


def test_a_wide_category_is_given_more_room_than_a_narrow_one() -> None:
    tight, _ = clusters(40, categories=1, noise=0.3)
    wide, _ = clusters(40, categories=1, noise=1.2)
    rows = np.concatenate([tight, np.roll(wide, 7, axis=1)])
    classifier = CentroidClassifier.fit(rows, np.repeat([0, 1], 40), 2)
    assert classifier.scales[0, 1] > 1.5 * classifier.scales[0, 0]


@names
def test_only_neighbours_keep_a_file_beside_the_arrays(name: str, tmp_path: object) -> None:
    assert ((INDEX_FILE,) if name == "knn" else ()) == CLASSIFIERS[name].FILES
