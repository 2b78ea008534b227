"""Choosing and calibrating the category classifier on prompts that it has not seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routers.calibration import fit_temperature, softmax
from routers.classifiers import CLASSIFIERS, Classifier
from routers.fitting.fit_options import FitError
from routers.fitting.splits import Index, fits
from routers.fitting.stages import Stages, digest
from routers.novelty import Novelty, fit_prototypes
from routers.request import Matrix, Vector


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Calibrated predictions on prompts that the classifier had not seen; `novelty` are distances."""

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


@dataclass(frozen=True, slots=True)
class Stage1:
    """The chosen classifier's name, its temperature, its held-out predictions and all candidates' losses."""

    name: str
    temperature: float
    held_out: HeldOut
    losses: dict[str, float]

    def fit(self, features: Matrix, labels: Index) -> Classifier:
        """The chosen classifier on all of the data."""
        return CLASSIFIERS[self.name].fit(features, labels, self.held_out.probabilities.shape[1])


def choose_classifier(
    features: Matrix, labels: Index, categories: int, folds: Index, name: str, seed: int, stages: Stages
) -> Stage1:
    """The classifier `name`, or with "auto" the one of least held-out log-loss after calibration.

    Raises FitError for an unknown name.
    """
    if name != "auto" and name not in CLASSIFIERS:
        raise FitError(f"no classifier {name!r}: choose auto, {', '.join(CLASSIFIERS)}")
    names = list(CLASSIFIERS) if name == "auto" else [name]
    data = digest(features, labels, folds)
    novelty = stages.once("novelty", (data, seed), lambda: _novelty(features, folds, seed))["distances"]
    best: Stage1 | None = None
    losses: dict[str, float] = {}
    for done, each in enumerate(names):
        stages.step(f"classifier {each}", done, len(names))
        logits = stages.once(
            f"stage1-{each}",
            (data, categories),
            lambda each=each: {"logits": _held_out_logits(each, features, labels, categories, folds)},  # type: ignore[misc]
        )["logits"]
        temperature = fit_temperature(logits, labels)
        held_out = HeldOut(softmax(logits, temperature), labels, novelty)
        chosen = held_out.probabilities[np.arange(len(labels)), labels]
        losses[each] = float(-np.log(np.maximum(chosen, 1e-12)).mean())
        if best is None or losses[each] < losses[best.name]:
            best = Stage1(each, temperature, held_out, losses)
    if best is None:
        raise FitError("no classifier was given")
    return best


def _held_out_logits(name: str, features: Matrix, labels: Index, categories: int, folds: Index) -> Matrix:
    logits = np.zeros((len(labels), categories), dtype=np.float32)
    for fit, held in fits(folds):
        fitted = CLASSIFIERS[name].fit(features[fit], labels[fit], categories)
        logits[held] = fitted.logits(features[held])
    return logits


def _novelty(features: Matrix, folds: Index, seed: int) -> dict[str, Vector]:
    distances = np.zeros(len(features), dtype=np.float32)
    for fit, held in fits(folds):
        seen = Novelty(fit_prototypes(features[fit], seed), np.zeros(2, dtype=np.float32))
        distances[held] = seen.distances(features[held])
    return {"distances": distances}
