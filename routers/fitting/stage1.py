"""Choosing and calibrating the category classifier by cross-validation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.calibration import fit_temperature, softmax
from routers.classifiers import CLASSIFIERS, Classifier, KnnClassifier
from routers.encoder import DIMENSION
from routers.fitting.fit_options import FitError
from routers.fitting.splits import Index, fold_splits
from routers.fitting.stages import StageCache, digest
from routers.novelty import Novelty, fit_prototypes
from routers.request import Matrix, Vector


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Calibrated cross-validated predictions: `probabilities` (prompts, categories), `labels` and `novelty`,
    the distances of `routers.novelty` (prompts,)."""

    probabilities: Matrix
    labels: Index
    novelty: Vector

    @property
    def confidence(self) -> Vector:
        best: Vector = self.probabilities.max(axis=1)
        return best

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return right

    @property
    def novelty_quantiles(self) -> npt.NDArray[np.float64]:
        """The rank of each distance among all, 0..1."""
        return np.searchsorted(np.sort(self.novelty), self.novelty) / len(self.novelty)


@dataclass(frozen=True, slots=True)
class Stage1:
    """The chosen classifier; `losses`: held-out log-loss of every candidate."""

    name: str
    temperature: float
    held_out: HeldOut
    losses: dict[str, float]

    def fit(self, features: Matrix, labels: Index) -> Classifier:
        """The classifier fitted on all data."""
        return CLASSIFIERS[self.name].fit(features, labels, self.held_out.probabilities.shape[1])


def choose_classifier(
    features: Matrix, labels: Index, categories: int, folds: Index, name: str, seed: int, stages: StageCache
) -> Stage1:
    """The classifier `name`; "auto" takes that of least calibrated held-out log-loss. Raises FitError."""
    if name != "auto" and name not in CLASSIFIERS:
        raise FitError(f"no classifier {name!r}: choose auto, {', '.join(CLASSIFIERS)}")
    names = list(CLASSIFIERS) if name == "auto" else [name]
    data = digest(features, labels, folds)
    novelty = stages.cached("novelty", (data, seed), lambda: _novelty(features, folds, seed))["distances"]
    found: list[Stage1] = []
    losses: dict[str, float] = {}
    for done, each in enumerate(names):
        stages.step(f"classifier {each}", done, len(names))
        logits = stages.cached(
            f"stage1-{each}",
            (data, categories),
            lambda each=each: {"logits": _held_out_logits(each, features, labels, categories, folds)},  # type: ignore[misc]
        )["logits"]
        temperature = fit_temperature(logits, labels)
        held_out = HeldOut(softmax(logits, temperature), labels, novelty)
        chosen = held_out.probabilities[np.arange(len(labels)), labels]
        losses[each] = float(-np.log(np.maximum(chosen, 1e-12)).mean())
        found.append(Stage1(each, temperature, held_out, losses))
    return min(found, key=lambda stage: losses[stage.name])


def _held_out_logits(name: str, features: Matrix, labels: Index, categories: int, folds: Index) -> Matrix:
    if name == "knn":
        return KnnClassifier.held_out_logits(features, labels, categories, folds)
    logits = np.zeros((len(labels), categories), dtype=np.float32)
    for fit, held in fold_splits(folds):
        fitted = CLASSIFIERS[name].fit(features[fit], labels[fit], categories)
        logits[held] = fitted.logits(features[held])
    return logits


def _novelty(features: Matrix, folds: Index, seed: int) -> dict[str, Vector]:
    embeddings = features[:, :DIMENSION]  # so that a fold copies these columns alone
    distances = np.zeros(len(features), dtype=np.float32)
    for fit, held in fold_splits(folds):
        seen = Novelty(fit_prototypes(embeddings[fit], seed), np.zeros(2, dtype=np.float32))
        distances[held] = seen.distances(embeddings[held])
    return {"distances": distances}
