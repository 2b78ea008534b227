"""Fitting the per-request correction: a forest, and stacking weights for it and the category.

Hyperparameters minimise the cross-validated squared error of contrasts, with each expert weighted by its
`relevance`: a dominated expert is hardly ever chosen, so its error matters little. The held-out score of
decisions is too noisy to select by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from routers.correction import Correction, Projection, contrasts, forest_inputs
from routers.fitting.splits import Index, fold_splits
from routers.fitting.stages import StageCache, digest
from routers.fitting.trees import MAX_LEAVES, MIN_SAMPLES_LEAF, TREES, GrownForest, concatenate, grow
from routers.request import Matrix, Vector
from routers.utilities import estimate_with_arms

Floats = npt.NDArray[np.float64]

COMPONENTS = 60
MIN_PROMPTS = 150
"""Completely scored prompts needed for a correction."""
SHRINKAGES = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0)
RELEVANCE_DECAY = 20.0
"""Relevance of an expert whose mean score is d below the quality-size hull: exp(-RELEVANCE_DECAY·d)."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Share of the contrasts' variance that a predictor explains on held-out prompts."""

    name: str
    explained: float


@dataclass(frozen=True, slots=True)
class CorrectionFit:
    """`correction` None unless its forest has weight and it reduces the held-out error significantly.
    `category`, `corrected`: held-out expected scores (prompts, experts) without and with it; `gain` ±
    `error`: reduction of the squared error; `gains` per predictor; `chosen` hyperparameters; `why` for the
    report."""

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
        """Held-out expected scores of the resulting composition."""
        return self.category if self.correction is None else self.corrected


def held_out_utilities(
    scores: Matrix, labels: Index, posterior: Matrix, folds: Index, bases: Sequence[int | None] = ()
) -> Matrix:
    """Σ_c p(c|x)·U[c,e] with utilities estimated without the prompt's fold, (prompts, experts)."""
    expected = np.zeros(scores.shape, dtype=np.float32)
    for fit, held in fold_splits(folds):
        columns = bases or (None,) * scores.shape[1]
        table = estimate_with_arms(scores[fit], labels[fit], posterior.shape[1], columns)
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
    bases: Sequence[int | None] = (),
    seed: int,
    cores: int,
    stages: StageCache,
) -> CorrectionFit:
    """Fit on the prompts that at least two experts are scored on; unknown scores are taken as expected
    (`with_expected`).

    `features` (prompts, features) begin with `dimension` columns of the embedding; `scores` (prompts,
    experts), NaN where unscored; `bases`: the column of each expert's base, if it is an arm; `posterior`
    (prompts, categories) and `category` (prompts, experts; see `held_out_utilities`) are cross-validated;
    `active_params_b` (experts,); `folds` (prompts,).
    """
    rows = np.flatnonzero((~np.isnan(scores)).sum(axis=1) >= 2)
    if len(rows) < MIN_PROMPTS or scores.shape[1] < 2:
        why = f"{len(rows)} prompts are scored by two experts or more, {MIN_PROMPTS} are needed"
        return CorrectionFit(None, category, category, 0.0, 0.0, (), {}, why)
    features, posterior, folds = features[rows], posterior[rows], folds[rows]
    known = with_expected(scores, category, bases)[rows]
    weights = relevance(known.mean(axis=0), active_params_b)
    # The means must not include the held-out fold either.
    centres = held_out_means(known, folds)
    targets = compared(known - centres, weights)
    projection = fit_projection(features, dimension)
    inputs = forest_inputs(projection, features, posterior)
    by_category = compared(category[rows] - centres, weights)
    by_forest, shrinkage = _held_out_forest(
        inputs, known, weights, folds, seed=seed, cores=cores, stages=stages
    )
    of_category, of_forest = blend_weights(by_category, by_forest, targets, weights)
    blended = of_category * by_category + of_forest * by_forest
    before = (weights * (targets - by_category) ** 2).sum(axis=1)
    saved = before - (weights * (targets - blended) ** 2).sum(axis=1)
    gain, error = float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(len(saved)))
    gains = tuple(
        Gain(name, _explained(targets, part, weights))
        for name, part in (("category", by_category), ("forest", by_forest), ("correction", blended))
    )
    chosen = {
        "forest_shrinkage": shrinkage,
        "weight_category": round(of_category, 3),
        "weight_forest": round(of_forest, 3),
    }
    corrected = category.copy()
    corrected[rows] += contrasts(blended - by_category).astype(np.float32)
    if not of_forest or gain <= error:
        why = f"squared error falls by {gain:.5f} ± {error:.5f}, no more than noise"
        if not of_forest:
            # A smaller error is then the category's alone, shrunk to the means of all prompts.
            why = "the forest adds nothing to the category on held-out prompts"
        return CorrectionFit(None, category, corrected, gain, error, gains, chosen, why)
    stages.step("correction", 6, 7)
    forest = grow_forest(inputs, known, weights, seed, cores).shrunk(shrinkage)
    correction = Correction(
        projection=projection,
        forest=replace(forest, values=(of_forest * forest.values).astype(np.float32)),
        category=(of_category * np.eye(known.shape[1])).astype(np.float32),
        means=contrasts(known).mean(axis=0).astype(np.float32),
    )
    return CorrectionFit(correction, category, corrected, gain, error, gains, chosen, "it helps held out")


def with_expected(scores: Matrix, category: Matrix, bases: Sequence[int | None] = ()) -> Floats:
    """`scores` (prompts, experts) with what is expected where they are NaN: the category's expectation
    (`category`, same shape), for an arm the base's score plus the expected difference from it."""
    known = np.where(np.isnan(scores), category, scores).astype(np.float64)
    for column, base in enumerate(bases):
        if base is not None:
            unknown = np.isnan(scores[:, column])
            known[unknown, column] = (known[:, base] + category[:, column] - category[:, base])[unknown]
    return known


def held_out_means(values: Floats, folds: Index) -> Floats:
    """For each row the mean of all rows outside its fold, shape of `values`."""
    means = np.empty_like(values)
    for fit, held in fold_splits(folds):
        means[held] = values[fit].mean(axis=0)
    return means


def relevance(means: Floats, active_params_b: Vector) -> Floats:
    """Weight of each expert, 0..1: 1 on the upper hull of mean score over size, decaying below it."""
    size = np.asarray(active_params_b, dtype=np.float64)
    short = np.zeros(len(means))
    for expert, room in enumerate(size):
        best = max(means[size <= room])
        for small in np.flatnonzero(size <= room):
            for large in np.flatnonzero(size > room):
                share = (room - size[small]) / (size[large] - size[small])
                best = max(best, (1 - share) * means[small] + share * means[large])
        short[expert] = best - means[expert]
    return np.exp(-RELEVANCE_DECAY * short)


def fit_projection(features: Matrix, dimension: int) -> Projection:
    """The leading principal components of the embeddings."""
    embeddings = features[:, :dimension].astype(np.float64)
    mean = embeddings.mean(axis=0)
    centred = embeddings - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    leading = vectors[:, ::-1][:, : min(COMPONENTS, dimension)]
    # The sign of a component is arbitrary; refitted, the same data give the same forest.
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return Projection(np.ascontiguousarray(leading, dtype=np.float32), mean.astype(np.float32))


def compared(values: Floats, weights: Floats) -> Floats:
    """Each row less its weighted mean."""
    centred: Floats = values - (values @ weights / weights.sum())[:, None]
    return centred


def blend_weights(category: Floats, forest: Floats, targets: Floats, weights: Floats) -> tuple[float, float]:
    """Non-negative least-squares stacking weights (Breiman 1996) of `category` and `forest`, which predict
    `targets`; all (prompts, experts). `weights` (experts,)."""
    from scipy.optimize import nnls

    scale = np.sqrt(weights)
    design = np.stack([(part * scale).ravel() for part in (category, forest)], axis=1)
    of_category, of_forest = nnls(design, (targets * scale).ravel())[0]
    return float(of_category), float(of_forest)


def grow_forest(inputs: Matrix, known: Floats, weights: Floats, seed: int, cores: int) -> GrownForest:
    """A forest for contrasts: half of the trees are grown on scores, half on contrasts.

    Trees on scores split easy from hard prompts first, between which experts differ most; their errors are
    different from those on contrasts, so that the average has less error.
    """
    scale = np.sqrt(weights)
    own = known - known.mean(axis=0)
    both = concatenate(
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
    stages: StageCache,
) -> tuple[Floats, float]:
    """Held-out predictions of the best shrinkage, and that shrinkage."""
    targets = compared(known - held_out_means(known, folds), weights)
    predicted = np.zeros((len(SHRINKAGES), *targets.shape))
    data = digest(inputs, known, weights, folds)
    for number, (fit, held) in enumerate(fold_splits(folds)):
        stages.step("correction", number + 1, 7)

        def compute(fit: Index = fit, held: Index = held) -> dict[str, Matrix]:
            grown = grow_forest(inputs[fit], known[fit], weights, seed, cores)
            leaves = grown.forest.leaves(inputs[held])
            return {
                "predicted": np.stack([grown.shrunk(each).values[leaves].mean(axis=1) for each in SHRINKAGES])
            }

        made = stages.cached(
            "forest", (data, number, seed, TREES, MIN_SAMPLES_LEAF, MAX_LEAVES, SHRINKAGES), compute
        )
        predicted[:, held] = made["predicted"]
    errors = [(weights * (targets - each) ** 2).sum() for each in predicted]
    best = int(np.argmin(errors))
    return predicted[best], SHRINKAGES[best]


def _explained(targets: Floats, predicted: Floats, weights: Floats) -> float:
    error = (weights * (targets - predicted) ** 2).sum()
    total = (weights * targets**2).sum()
    return float(1 - error / total) if total > 0 else 0.0
