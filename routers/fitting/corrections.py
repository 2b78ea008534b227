"""Fitting what the request adds to its category: forest, kernel, and the weights of each by validation.

All choices are made on held-out folds. Errors are those of contrasts (an expert against the mean of
all), weighted by how much an expert can matter: one that is both worse and dearer than a mix of
others is hardly ever chosen, so what is predicted of it is of little interest.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.correction import Correction, Projection, contrasts, forest_inputs
from routers.fitting.landmarks import KERNELS, kernel_basis
from routers.fitting.splits import Index, fits
from routers.fitting.stages import Stages, digest
from routers.fitting.trees import TREES, grow
from routers.kernel import KernelRegression
from routers.request import Matrix, Vector
from routers.utilities import estimate_utilities

COMPONENTS = 60
FEWEST_PROMPTS = 150
"""Completely scored prompts below which nothing is corrected."""
SHRINKAGES = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
RIDGES = (2.0, 8.0, 32.0, 128.0, 512.0)
IRRELEVANCE = 20.0
"""An expert that is d below what its cost could buy counts exp(-IRRELEVANCE·d)."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Share of the contrasts' variance explained on held-out prompts, and what it adds."""

    name: str
    explained: float


@dataclass(frozen=True, slots=True)
class CorrectionFit:
    """`correction` None when validation does not speak for it. `category` and `corrected` are the
    expected scores (prompts, experts) of the held-out folds without and with it; `gain` ± `error` is
    the drop of squared error of contrasts; `gains` what each part explains; `chosen` for the report.
    """

    correction: Correction | None
    category: Matrix
    corrected: Matrix
    gain: float
    error: float
    gains: tuple[Gain, ...]
    chosen: dict[str, float]
    why: str

    @property
    def expected(self) -> Matrix:
        """Held-out expected scores as the composition will make them."""
        return self.category if self.correction is None else self.corrected


def held_out_utilities(scores: Matrix, labels: Index, posterior: Matrix, folds: Index) -> Matrix:
    """Σ_c p(c|x)·U[c,e] of every prompt with utilities estimated without its fold, (prompts, experts)."""
    expected = np.zeros(scores.shape, dtype=np.float32)
    for fit, held in fits(folds):
        table = estimate_utilities(scores[fit], labels[fit], posterior.shape[1])
        expected[held] = posterior[held] @ table.by_category
    return expected


def fit_correction(
    features: Matrix,
    dimension: int,
    scores: Matrix,
    posterior: Matrix,
    category: Matrix,
    active_params_b: Vector,
    folds: Index,
    *,
    seed: int,
    cores: int,
    stages: Stages,
) -> CorrectionFit:
    """Fit on rows that all experts have scores for.

    `features` (prompts, features), of which `dimension` are the embedding; `scores` (prompts,
    experts), NaN where unscored; `posterior` and `category` from held-out folds (see
    `held_out_utilities`); `active_params_b` (experts,); `folds` (prompts,).
    """
    rows = np.flatnonzero(~np.isnan(scores).any(axis=1))
    if len(rows) < FEWEST_PROMPTS or scores.shape[1] < 2:
        why = f"{len(rows)} prompts are scored by all experts, {FEWEST_PROMPTS} are needed"
        return CorrectionFit(None, category, category, 0.0, 0.0, (), {}, why)
    features, scores, posterior = features[rows], scores[rows].astype(np.float64), posterior[rows]
    folds = folds[rows]
    means = contrasts(scores).mean(axis=0)
    targets = contrasts(scores) - means
    weights = relevance(scores.mean(axis=0), active_params_b)
    projection = fit_projection(features, dimension)
    inputs = forest_inputs(projection, features, posterior)
    data = digest(inputs, targets, weights, folds)
    by_forest, shrinkage = _held_out_forest(
        inputs, targets, weights, folds, data, seed=seed, cores=cores, stages=stages
    )
    by_kernel, kernel, ridge = _held_out_kernel(features, dimension, targets, weights, folds, seed, stages)
    parts = (contrasts(category[rows].astype(np.float64)) - means, by_forest, by_kernel)
    blend = blend_weights(parts, targets, weights)
    blended = sum(weight * part for weight, part in zip(blend, parts, strict=True))
    before = (weights * (targets - parts[0]) ** 2).sum(axis=1)
    saved = before - (weights * (targets - blended) ** 2).sum(axis=1)
    gain, error = float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(len(saved)))
    gains = tuple(
        Gain(name, _explained(targets, part, weights))
        for name, part in (
            ("category", parts[0]),
            ("forest", parts[1]),
            ("kernel", parts[2]),
            ("blend", blended),
        )
    )
    corrected = category.copy()
    corrected[rows] += (blended - parts[0]).astype(np.float32)
    chosen = {
        "weight_category": round(float(blend[0]), 3),
        "weight_forest": round(float(blend[1]), 3),
        "weight_kernel": round(float(blend[2]), 3),
        "forest_shrinkage": shrinkage,
        "kernel_sharpness": kernel[0],
        "kernel_wording_and_format": float(kernel[1]),
        "kernel_ridge": ridge,
    }
    if gain <= error:
        why = f"it explains {gain:.5f} ± {error:.5f} more of the contrasts' variance: no more than noise"
        return CorrectionFit(None, category, corrected, gain, error, gains, chosen, why)
    stages.step("correction", 7, 8)
    correction = Correction(
        projection=projection,
        forest=grow(
            inputs, (targets * np.sqrt(weights)).astype(np.float32), trees=TREES, seed=seed, cores=cores
        ).shrunk(shrinkage)
        if blend[1] > 0
        else None,
        kernel=_fit_kernel(features, dimension, targets, kernel, ridge, seed) if blend[2] > 0 else None,
        weights=blend.astype(np.float32),
        means=means.astype(np.float32),
    )
    correction = _unweighted(correction, weights)
    return CorrectionFit(correction, category, corrected, gain, error, gains, chosen, "it helps held out")


def relevance(means: npt.NDArray[np.float64], active_params_b: Vector) -> npt.NDArray[np.float64]:
    """How much each expert can matter, 0..1: 1 on the best mixes of quality and size, less below."""
    size = np.asarray(active_params_b, dtype=np.float64)
    short = np.zeros(len(means))
    for expert, room in enumerate(size):
        best = max(means[size <= room])
        for small in np.flatnonzero(size <= room):
            for large in np.flatnonzero(size > room):
                share = (room - size[small]) / (size[large] - size[small])
                best = max(best, (1 - share) * means[small] + share * means[large])
        short[expert] = best - means[expert]
    return np.exp(-IRRELEVANCE * short)


def fit_projection(features: Matrix, dimension: int) -> Projection:
    """The leading principal components of the embeddings; no score is looked at."""
    embeddings = features[:, :dimension].astype(np.float64)
    mean = embeddings.mean(axis=0)
    centred = embeddings - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    leading = vectors[:, ::-1][:, : min(COMPONENTS, dimension)]
    # The sign of a component is arbitrary; settled, the same data give the same forest.
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return Projection(np.ascontiguousarray(leading, dtype=np.float32), mean.astype(np.float32))


def blend_weights(
    parts: tuple[npt.NDArray[np.float64], ...],
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Weights 0 or more of least squared error (stacking, Breiman 1996)."""
    from scipy.optimize import nnls

    scale = np.sqrt(weights)
    design = np.stack([(part * scale).ravel() for part in parts], axis=1)
    found: npt.NDArray[np.float64] = nnls(design, (targets * scale).ravel())[0]
    return found


def _held_out_forest(
    inputs: Matrix,
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    folds: Index,
    data: str,
    *,
    seed: int,
    cores: int,
    stages: Stages,
) -> tuple[npt.NDArray[np.float64], float]:
    """Held-out predictions with the best shrinkage, and that shrinkage."""
    scale = np.sqrt(weights)
    predicted = np.zeros((len(SHRINKAGES), *targets.shape))
    for number, (fit, held) in enumerate(fits(folds)):
        stages.step("correction", number + 1, 8)

        def compute(fit: Index = fit, held: Index = held) -> dict[str, Matrix]:
            grown = grow(
                inputs[fit], (targets[fit] * scale).astype(np.float32), trees=TREES, seed=seed, cores=cores
            )
            leaves = grown.forest.leaves(inputs[held])
            return {
                "predicted": np.stack([grown.shrunk(each).values[leaves].mean(axis=1) for each in SHRINKAGES])
            }

        made = stages.once("forest", (data, number, seed, TREES, SHRINKAGES), compute)["predicted"]
        predicted[:, held] = made / scale
    errors = [(weights * (targets - each) ** 2).sum() for each in predicted]
    best = int(np.argmin(errors))
    return predicted[best], SHRINKAGES[best]


def _held_out_kernel(
    features: Matrix,
    dimension: int,
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    folds: Index,
    seed: int,
    stages: Stages,
) -> tuple[npt.NDArray[np.float64], tuple[float, bool], float]:
    """Held-out predictions of the best kernel and ridge, and these two."""
    stages.step("correction", 6, 8)
    best: tuple[npt.NDArray[np.float64], tuple[float, bool], float] | None = None
    least = np.inf
    for sharpness, whole in KERNELS:
        basis = kernel_basis(features, dimension, sharpness, whole, seed)
        for ridge in RIDGES:
            predicted = np.zeros(targets.shape)
            for fit, held in fits(folds):
                predicted[held] = basis.similarities[held] @ basis.solve(fit, targets[fit], ridge)
            error = float((weights * (targets - predicted) ** 2).sum())
            if best is None or error < least:
                best, least = (predicted, (sharpness, whole), ridge), error
    if best is None:
        raise ValueError("no kernel to try")
    return best


def _fit_kernel(
    features: Matrix,
    dimension: int,
    targets: npt.NDArray[np.float64],
    kernel: tuple[float, bool],
    ridge: float,
    seed: int,
) -> KernelRegression:
    basis = kernel_basis(features, dimension, *kernel, seed)
    return basis.regression(basis.solve(np.arange(len(features)), targets, ridge))


def _unweighted(correction: Correction, weights: npt.NDArray[np.float64]) -> Correction:
    """The forest was grown on targets scaled by the experts' relevance; its leaves are scaled back."""
    if correction.forest is None:
        return correction
    values = (correction.forest.values / np.sqrt(weights)).astype(np.float32)
    return replace(correction, forest=replace(correction.forest, values=values))


def _explained(
    targets: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> float:
    error = (weights * (targets - predicted) ** 2).sum()
    return float(1 - error / (weights * targets**2).sum())
