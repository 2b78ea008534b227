"""Fitting what the request adds to its category: forest, kernel, and the weights of each by validation.

All choices are made on held-out folds, by the error of comparisons: an expert against the mean of those
that matter, weighted by how much it matters itself. One that is both worse and dearer than a mix of
others is hardly ever chosen, so what is predicted of it is of little interest. Held-out scores of the
decisions are too noisy to choose by.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.correction import Correction, Projection, contrasts, forest_inputs
from routers.fitting.fit_options import CORRECTORS
from routers.fitting.landmarks import KERNELS, kernel_basis
from routers.fitting.splits import Index, fits
from routers.fitting.stages import Stages, digest
from routers.fitting.trees import LEAVES, SMALLEST_LEAF, TREES, GrownForest, grow, joined
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
    parts: Collection[str] = CORRECTORS,
    seed: int,
    cores: int,
    stages: Stages,
) -> CorrectionFit:
    """Fit on rows that all experts have scores for.

    `features` (prompts, features), of which `dimension` are the embedding; `scores` (prompts,
    experts), NaN where unscored; `posterior` and `category` from held-out folds (see
    `held_out_utilities`); `active_params_b` (experts,); `folds` (prompts,); `parts` of CORRECTORS may
    be used.
    """
    rows = np.flatnonzero(~np.isnan(scores).any(axis=1))
    if len(rows) < FEWEST_PROMPTS or scores.shape[1] < 2:
        why = f"{len(rows)} prompts are scored by all experts, {FEWEST_PROMPTS} are needed"
        return CorrectionFit(None, category, category, 0.0, 0.0, (), {}, why)
    features, posterior, folds = features[rows], posterior[rows], folds[rows]
    known = scores[rows].astype(np.float64)
    weights = relevance(known.mean(axis=0), active_params_b)
    # What a fold is compared with must not know the fold either, not even its mean.
    centres = held_out_means(known, folds)
    targets = compared(known - centres, weights)
    projection = fit_projection(features, dimension)
    inputs = forest_inputs(projection, features, posterior)
    held_out: dict[str, Floats] = {"category": compared(category[rows] - centres, weights)}
    chosen: dict[str, float] = {}
    shrinkage, kernel, ridge = 0.0, KERNELS[0], RIDGES[0]
    if "forest" in parts:
        held_out["forest"], shrinkage = _held_out_forest(
            inputs, known, weights, folds, seed=seed, cores=cores, stages=stages
        )
        chosen["forest_shrinkage"] = shrinkage
    if "kernel" in parts:
        held_out["kernel"], kernel, ridge = _held_out_kernel(
            features, dimension, known, weights, folds, seed, stages
        )
        chosen |= {
            "kernel_sharpness": kernel[0],
            "kernel_wording_and_format": float(kernel[1]),
            "kernel_ridge": ridge,
        }
    blend = blend_weights(held_out, targets, weights)
    if blend.get("kernel", 0.0) < SLIGHT * sum(blend.values()):
        # Not worth its time in every decision.
        blend = blend_weights({n: part for n, part in held_out.items() if n != "kernel"}, targets, weights)
    blended = sum((blend[name] * held_out[name] for name in blend), np.zeros_like(targets))
    before = (weights * (targets - held_out["category"]) ** 2).sum(axis=1)
    saved = before - (weights * (targets - blended) ** 2).sum(axis=1)
    gain, error = float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(len(saved)))
    gains = tuple(
        Gain(name, _explained(targets, part, weights))
        for name, part in (*held_out.items(), ("correction", blended))
    )
    chosen |= {f"weight_{name}": round(weight, 3) for name, weight in blend.items()}
    corrected = category.copy()
    corrected[rows] += contrasts(blended - held_out["category"]).astype(np.float32)
    if gain <= error:
        why = f"squared error falls by {gain:.5f} ± {error:.5f}, no more than noise"
        return CorrectionFit(None, category, corrected, gain, error, gains, chosen, why)
    stages.step("correction", 7, 8)
    forest, regression = None, None
    if trust := blend.get("forest", 0.0):
        forest = grow_forest(inputs, known, weights, seed, cores).shrunk(shrinkage)
        forest = replace(forest, values=(trust * forest.values).astype(np.float32))
    if trust := blend.get("kernel", 0.0):
        basis = kernel_basis(features, dimension, *kernel, seed)
        found = basis.solve(np.arange(len(features)), contrasts(known - known.mean(axis=0)), ridge)
        regression = basis.regression(found * trust)
    correction = Correction(
        projection=projection,
        forest=forest,
        kernel=regression,
        category=(blend["category"] * np.eye(known.shape[1])).astype(np.float32),
        means=contrasts(known).mean(axis=0).astype(np.float32),
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


def compared(values: Floats, weights: Floats) -> Floats:
    """Each row less its mean over the experts that matter: what is left of it ranks them."""
    centred: Floats = values - (values @ weights / weights.sum())[:, None]
    return centred


def blend_weights(parts: Mapping[str, Floats], targets: Floats, weights: Floats) -> dict[str, float]:
    """Weights 0 or more of least squared error (stacking, Breiman 1996)."""
    from scipy.optimize import nnls

    scale = np.sqrt(weights)
    design = np.stack([(part * scale).ravel() for part in parts.values()], axis=1)
    found = nnls(design, (targets * scale).ravel())[0]
    return {name: float(weight) for name, weight in zip(parts, found, strict=True)}


def grow_forest(inputs: Matrix, known: Floats, weights: Floats, seed: int, cores: int) -> GrownForest:
    """A forest of how experts compare, one half of it grown on scores and one on comparisons.

    Trees that see scores part easy prompts from hard ones first, and experts differ most in between;
    trees that see comparisons need not. They err in different ways, so both together err less.
    """
    scale = np.sqrt(weights)
    own = known - known.mean(axis=0)
    both = joined(
        [
            grow(inputs, (each * scale).astype(np.float32), trees=TREES, seed=seed, cores=cores)
            for each in (own, compared(own, weights))
        ]
    )
    values = compared(both.forest.values / scale, weights).astype(np.float32)
    return replace(both, forest=replace(both.forest, values=values))


def _held_out_forest(
    inputs: Matrix,
    known: Floats,
    weights: Floats,
    folds: Index,
    *,
    seed: int,
    cores: int,
    stages: Stages,
) -> tuple[Floats, float]:
    """Held-out predictions with the best shrinkage, and that shrinkage."""
    targets = compared(known - held_out_means(known, folds), weights)
    predicted = np.zeros((len(SHRINKAGES), *targets.shape))
    data = digest(inputs, known, weights, folds)
    for number, (fit, held) in enumerate(fits(folds)):
        stages.step("correction", number + 1, 8)

        def compute(fit: Index = fit, held: Index = held) -> dict[str, Matrix]:
            grown = grow_forest(inputs[fit], known[fit], weights, seed, cores)
            leaves = grown.forest.leaves(inputs[held])
            return {
                "predicted": np.stack([grown.shrunk(each).values[leaves].mean(axis=1) for each in SHRINKAGES])
            }

        made = stages.once("forest", (data, number, seed, TREES, SMALLEST_LEAF, LEAVES, SHRINKAGES), compute)
        predicted[:, held] = made["predicted"]
    errors = [(weights * (targets - each) ** 2).sum() for each in predicted]
    best = int(np.argmin(errors))
    return predicted[best], SHRINKAGES[best]


def _held_out_kernel(
    features: Matrix,
    dimension: int,
    known: Floats,
    weights: Floats,
    folds: Index,
    seed: int,
    stages: Stages,
) -> tuple[Floats, tuple[float, bool], float]:
    """Held-out predictions of the best kernel and ridge, and these two."""
    stages.step("correction", 6, 8)
    targets = compared(known - held_out_means(known, folds), weights)
    best: tuple[Floats, tuple[float, bool], float] | None = None
    least = np.inf
    for sharpness, whole in KERNELS:
        basis = kernel_basis(features, dimension, sharpness, whole, seed)
        for ridge in RIDGES:
            predicted = np.zeros(targets.shape)
            for fit, held in fits(folds):
                own = contrasts(known[fit] - known[fit].mean(axis=0))
                predicted[held] = basis.similarities[held] @ basis.solve(fit, own, ridge)
            predicted = compared(predicted, weights)
            error = float((weights * (targets - predicted) ** 2).sum())
            if best is None or error < least:
                best, least = (predicted, (sharpness, whole), ridge), error
    if best is None:
        raise ValueError("no kernel to try")
    return best


def _explained(targets: Floats, predicted: Floats, weights: Floats) -> float:
    error = (weights * (targets - predicted) ** 2).sum()
    total = (weights * targets**2).sum()
    # Experts that score alike everywhere leave nothing to explain.
    return float(1 - error / total) if total > 0 else 0.0
