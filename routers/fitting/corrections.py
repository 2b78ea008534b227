"""Fitting what the request adds to its category: forest, kernel, and the weights of each by validation.

All choices are made on held-out folds. Errors are those of contrasts (an expert against the mean of
all), weighted by how much an expert can matter: one that is both worse and dearer than a mix of
others is hardly ever chosen, so what is predicted of it is of little interest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.correction import Correction, Projection, contrasts, forest_inputs
from routers.fitting.landmarks import KERNELS, kernel_basis
from routers.fitting.splits import Index, fits
from routers.fitting.stages import Stages, digest
from routers.fitting.trees import SMALLEST_LEAF, TREES, grow
from routers.request import Matrix, Vector
from routers.utilities import estimate_utilities

Floats = npt.NDArray[np.float64]

COMPONENTS = 60
FEWEST_PROMPTS = 150
"""Completely scored prompts below which nothing is corrected."""
SHRINKAGES = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0)
RIDGES = (2.0, 8.0, 32.0, 128.0, 512.0)
SLIGHT = 0.1
"""Share of the blend below which the kernel is left out."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
RATES = (0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
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
    features, posterior = features[rows], posterior[rows]
    known = scores[rows].astype(np.float64)
    folds = folds[rows]
    observed = contrasts(known)
    means = observed.mean(axis=0)
    # What a fold is compared with must not know the fold either, not even its mean.
    centres = held_out_means(observed, folds)
    targets = observed - centres
    weights = relevance(known.mean(axis=0), active_params_b)
    projection = fit_projection(features, dimension)
    inputs = forest_inputs(projection, features, posterior)
    data = digest(inputs, observed, weights, folds)
    by_forest, shrinkage = _held_out_forest(
        inputs, observed, weights, folds, data, seed=seed, cores=cores, stages=stages
    )
    by_kernel, kernel, ridge = _held_out_kernel(features, dimension, observed, weights, folds, seed, stages)
    parts = (contrasts(category[rows].astype(np.float64)) - centres, by_forest, by_kernel)
    blend = blend_weights(parts, targets, weights)
    if blend[2] < SLIGHT * blend.sum():
        # Not worth its time in every decision.
        parts = (parts[0], parts[1], np.zeros_like(parts[2]))
        blend = blend_weights(parts, targets, weights)
    stacked = np.tensordot(blend, np.stack(parts), axes=1)
    turned, matrix = by_direction(stacked, targets, folds)
    base = category[rows].astype(np.float64)
    strength, response, lift = choose_strength(
        base, {None: stacked - parts[0], "turned": turned - parts[0]}, matrix, known, active_params_b
    )
    reached = stacked if response is None else turned
    blended = parts[0] + strength * (reached - parts[0])
    before = (weights * (targets - parts[0]) ** 2).sum(axis=1)
    saved = before - (weights * (targets - blended) ** 2).sum(axis=1)
    gain, error = float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(len(saved)))
    gains = tuple(
        Gain(name, _explained(targets, part, weights))
        for name, part in (
            ("category", parts[0]),
            ("forest", parts[1]),
            ("kernel", by_kernel),
            ("blend", stacked),
            ("blend, each direction by itself", turned),
            ("correction", blended),
        )
    )
    corrected = category.copy()
    corrected[rows] += (blended - parts[0]).astype(np.float32)
    chosen: dict[str, float] = {
        "weight_category": round(float(blend[0]), 3),
        "weight_forest": round(float(blend[1]), 3),
        "weight_kernel": round(float(blend[2]), 3),
        "forest_shrinkage": shrinkage,
        "kernel_sharpness": kernel[0],
        "kernel_wording_and_format": float(kernel[1]),
        "kernel_ridge": ridge,
        "by_direction": float(response is not None),
        "strength": strength,
        "routing_gain": round(lift, 5),
    }
    if gain <= error:
        why = f"squared error falls by {gain:.5f} ± {error:.5f}, no more than noise"
        return CorrectionFit(None, category, corrected, gain, error, gains, chosen, why)
    if lift <= 0:
        why = "experts are predicted better with it, but decisions are not better"
        return CorrectionFit(None, category, corrected, gain, error, gains, chosen, why)
    stages.step("correction", 7, 8)
    whole = np.eye(known.shape[1])
    turn = strength * (whole if response is None else response)
    forest, regression = None, None
    if blend[1] > 0:
        scaled = ((observed - means) * np.sqrt(weights)).astype(np.float32)
        forest = grow(inputs, scaled, trees=TREES, seed=seed, cores=cores).shrunk(shrinkage)
        values = (forest.values / np.sqrt(weights)) @ (blend[1] * turn)
        forest = replace(forest, values=values.astype(np.float32))
    if blend[2] > 0:
        basis = kernel_basis(features, dimension, *kernel, seed)
        found = basis.solve(np.arange(len(features)), observed - means, ridge)
        regression = basis.regression(found @ (blend[2] * turn))
    correction = Correction(
        projection=projection,
        forest=forest,
        kernel=regression,
        category=((1 - strength) * whole + blend[0] * turn).astype(np.float32),
        means=means.astype(np.float32),
    )
    return CorrectionFit(correction, category, corrected, gain, error, gains, chosen, "it helps held out")


def held_out_means(values: Floats, folds: Index) -> Floats:
    """For each row the mean of all rows outside its fold, the shape of `values`."""
    means = np.empty_like(values)
    for fit, held in fits(folds):
        means[held] = values[fit].mean(axis=0)
    return means


def relevance(means: Floats, active_params_b: Vector) -> Floats:
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
    parts: tuple[Floats, ...],
    targets: Floats,
    weights: Floats,
) -> Floats:
    """Weights 0 or more of least squared error (stacking, Breiman 1996)."""
    from scipy.optimize import nnls

    scale = np.sqrt(weights)
    design = np.stack([(part * scale).ravel() for part in parts], axis=1)
    found: Floats = nnls(design, (targets * scale).ravel())[0]
    return found


def by_direction(stacked: Floats, targets: Floats, folds: Index) -> tuple[Floats, Floats]:
    """`stacked` with each of its directions believed as far as it deserves, and the matrix that does it.

    Some contrasts are easier to predict than others: large against small models, say, more than two
    large ones against each other. Regressing the targets on all predicted contrasts shrinks each
    direction by itself (curds and whey, Breiman & Friedman 1997). The result is held out: its matrix
    (experts, experts) is fitted without the prompt's fold; the one that is returned, on all.
    """

    def regress(rows: Index) -> Floats:
        known = stacked[rows]
        gram = known.T @ known
        # A touch of ridge: contrasts sum to zero, so one direction is empty.
        touch = 1e-6 * (np.trace(gram) + 1e-12) * np.eye(len(gram))
        found: Floats = np.linalg.solve(gram + touch, known.T @ targets[rows])
        return found

    turned = np.zeros_like(stacked)
    for fit, held in fits(folds):
        turned[held] = stacked[held] @ regress(fit)
    return turned, regress(np.arange(len(stacked)))


def choose_strength(
    base: Floats,
    steps: Mapping[str | None, Floats],
    response: Floats,
    scores: Floats,
    active_params_b: Vector,
) -> tuple[float, Floats | None, float]:
    """How far to go from `base` along one of `steps`, by the decisions that come of it.

    What predicts all contrasts best need not choose best: the largest of noisy predictions flatters
    itself. Returns the strength, `response` where the turned step won, and the gain over `base`.
    """
    before = routing_value(base, scores, active_params_b)
    best: tuple[float, Floats | None, float] = (1.0, None, -np.inf)
    for name, step in steps.items():
        for strength in STRENGTHS:
            gain = routing_value(base + strength * step, scores, active_params_b) - before
            if gain > best[2]:
                best = (strength, None if name is None else response, gain)
    return best


def routing_value(expected: Floats, scores: Floats, active_params_b: Vector) -> float:
    """Mean score less cost of decisions by `expected`, over weights on active parameters from none to
    beyond the price that single experts put on quality: RATES are in units of that price."""
    size = np.asarray(active_params_b, dtype=np.float64)
    means = scores.mean(axis=0)
    rows = np.arange(len(scores))
    smallest, best = int(size.argmin()), int(means.argmax())
    rate = max(float(means[best] - means[smallest]), 0.0) / max(float(size[best] - size[smallest]), 1e-9)
    if size[best] <= size[smallest]:
        rate = 0.0
    values = []
    for weight in np.asarray(RATES) * rate:
        chosen = (expected - weight * size).argmax(axis=1)
        values.append(float((scores[rows, chosen] - weight * size[chosen]).mean()))
    return float(np.mean(values))


def _held_out_forest(
    inputs: Matrix,
    observed: Floats,
    weights: Floats,
    folds: Index,
    data: str,
    *,
    seed: int,
    cores: int,
    stages: Stages,
) -> tuple[Floats, float]:
    """Held-out predictions with the best shrinkage, and that shrinkage."""
    scale = np.sqrt(weights)
    targets = observed - held_out_means(observed, folds)
    predicted = np.zeros((len(SHRINKAGES), *targets.shape))
    for number, (fit, held) in enumerate(fits(folds)):
        stages.step("correction", number + 1, 8)

        def compute(fit: Index = fit, held: Index = held) -> dict[str, Matrix]:
            grown = grow(
                inputs[fit],
                ((observed[fit] - observed[fit].mean(axis=0)) * scale).astype(np.float32),
                trees=TREES,
                seed=seed,
                cores=cores,
            )
            leaves = grown.forest.leaves(inputs[held])
            return {
                "predicted": np.stack([grown.shrunk(each).values[leaves].mean(axis=1) for each in SHRINKAGES])
            }

        made = stages.once("forest", (data, number, seed, TREES, SMALLEST_LEAF, SHRINKAGES), compute)[
            "predicted"
        ]
        predicted[:, held] = made / scale
    errors = [(weights * (targets - each) ** 2).sum() for each in predicted]
    best = int(np.argmin(errors))
    return predicted[best], SHRINKAGES[best]


def _held_out_kernel(
    features: Matrix,
    dimension: int,
    observed: Floats,
    weights: Floats,
    folds: Index,
    seed: int,
    stages: Stages,
) -> tuple[Floats, tuple[float, bool], float]:
    """Held-out predictions of the best kernel and ridge, and these two."""
    stages.step("correction", 6, 8)
    targets = observed - held_out_means(observed, folds)
    best: tuple[Floats, tuple[float, bool], float] | None = None
    least = np.inf
    for sharpness, whole in KERNELS:
        basis = kernel_basis(features, dimension, sharpness, whole, seed)
        for ridge in RIDGES:
            predicted = np.zeros(targets.shape)
            for fit, held in fits(folds):
                predicted[held] = basis.similarities[held] @ basis.solve(
                    fit, observed[fit] - observed[fit].mean(axis=0), ridge
                )
            error = float((weights * (targets - predicted) ** 2).sum())
            if best is None or error < least:
                best, least = (predicted, (sharpness, whole), ridge), error
    if best is None:
        raise ValueError("no kernel to try")
    return best


def _explained(targets: Floats, predicted: Floats, weights: Floats) -> float:
    error = (weights * (targets - predicted) ** 2).sum()
    return float(1 - error / (weights * targets**2).sum())
