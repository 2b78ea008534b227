"""What could be known of a request beyond its category: a trial of each lead, on the same folds.

    python -m benchmarks.signal_leads OUTCOMES [--tables llmrouter9 mmlu_pro_small coe5]
        [--others mmlu_pro_small=scores.parquet coe5=scores.parquet] [--lengths coe5=output_chars.parquet]
        [--prefill MODEL --prefill-tokens 192] [--out var/signal]

A prompt's scores, less what its category's posterior expects and less the mean of all experts, are predicted
by a forest from what a lead reads. Reported are the share of their variance that is explained on prompts not
fitted on, and what decisions gain over the category map, with 95 % intervals of paired differences. Four
folds are for looking; the fifth is put aside, and the last column is of it alone. Rows:

- inputs: the posterior; format features; the embedding; the encoder's middle layer; n-grams; the embedding of
  the text without its options; states of a small language model (`--prefill`, a folder of SmolLM2);
- targets with less noise: their leading components, alone or together with experts outside of the table;
- bounds: a reader that is told how experts outside of the table scored on this very prompt (`--others`),
  inputs shuffled within the category, and fewer prompts to fit on.

A finished row is kept in `--out`, so that a run can resume.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.json_documents import write_json
from benchmarks.prefill_states import LAYERS, prefill_states
from eval.paired_comparison import paired_interval
from routers.calibration import fit_temperature, softmax
from routers.classifiers import LogisticClassifier
from routers.correction import contrasts
from routers.embeddings import encode_cached, vectors_folder
from routers.encoder import DIMENSION, load_encoder
from routers.features import features_of_prompts, format_columns, lexical_columns, middle_columns
from routers.fitting.corrections import fit_projection
from routers.fitting.splits import assign_folds
from routers.fitting.trees import grow
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Matrix
from routers.utilities import estimate_with_arms

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

TABLES = ("llmrouter9", "mmlu_pro_small", "coe5")
FOLDS, ASIDE = 5, 4
"""Folds, and the one that is put aside."""
TREES = 120
SHRINKAGE = 40.0
"""Of hierarchical shrinkage."""
SHARES = (0.125, 0.25, 0.5)
"""Of the prompts to fit on, for the learning curve."""
SHUFFLES = 3
GRAM_BUCKETS = 512
OUTSIDE_COMPONENTS = 6
_OPTION_LINE = re.compile(r"^[ \t]*\(?[A-Z][.):][ \t].*$\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gain:
    """`explained`: share of the variance. `score` of decisions, and their `difference` from the category map
    with its 95 % interval; `aside` the same difference on the fold put aside."""

    name: str
    explained: float
    score: float
    difference: float
    low: float
    high: float
    aside: float
    aside_low: float
    aside_high: float


@dataclass(frozen=True, slots=True)
class Fold:
    """`expected`: what the category map of `fit` alone expects of every prompt, (prompts, experts)."""

    fit: Rows
    held: Rows
    expected: Floats


@dataclass(frozen=True, slots=True)
class World:
    """A table as every trial sees it: `scores` (prompts, experts), `labels` (prompts,), the cross-fitted
    `posterior` (prompts, categories), its `features`, and the folds, the one put aside last."""

    name: str
    table: OutcomeTable
    scores: Floats
    labels: Rows
    posterior: Matrix
    features: Matrix
    folds: tuple[Fold, ...]


Inputs = Callable[[Rows], Matrix]
"""Inputs of every prompt, with projections fitted on the given rows."""
Targets = Callable[[Floats, Rows], Floats]
"""Targets of the given rows in place of the residuals (prompts, experts)."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the report: what is read, what is predicted, and the share of the prompts that is used."""

    name: str
    inputs: Inputs
    targets: Targets | None = None
    share: float = 1.0


def read_world(folder: Path) -> World:
    """Reads, encodes and classifies a table, rows without a missing score."""
    table = read_outcomes(folder)
    table = table.take(np.flatnonzero(np.isfinite(table.scores).all(axis=1)))
    scores = table.scores.astype(np.float64)
    names = sorted(set(table.categories))
    labels = np.asarray([names.index(each) for each in table.categories], dtype=np.int64)
    fold_of = assign_folds(table.prompts, labels, FOLDS)
    features = features_of_prompts(load_encoder(), table.prompts, vectors_folder())
    posterior = np.zeros((len(table), len(names)), dtype=np.float32)
    for fold in range(FOLDS):
        fit, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        logits = LogisticClassifier.fit(features[fit], labels[fit], len(names)).logits(features)
        # One number, fitted where it does not matter for the order of categories.
        posterior[held] = softmax(logits[held], fit_temperature(logits[held], labels[held]))
    folds = []
    for fold in (*(each for each in range(FOLDS) if each != ASIDE), ASIDE):
        # The fold put aside is nowhere fitted on, but for itself to be judged.
        fit = np.flatnonzero((fold_of != fold) & (fold_of != ASIDE))
        utilities = estimate_with_arms(
            table.scores[fit], labels[fit], len(names), (None,) * scores.shape[1]
        ).by_category
        expected = (posterior @ utilities).astype(np.float64)
        folds.append(Fold(fit, np.flatnonzero(fold_of == fold), expected))
    return World(folder.name, table, scores, labels, posterior, features, tuple(folds))


def components(matrix: Matrix, rows: Rows) -> Matrix:
    """The leading principal components of `matrix`, found in `rows`, (all rows, components)."""
    projected: Matrix = fit_projection(matrix[rows], matrix.shape[1]).apply(matrix)
    return projected


def trial(world: World, row: Row) -> Gain:
    """Fits and judges one row of the report."""
    explained, scores, before = [], [], []
    for fold in world.folds:
        random = np.random.default_rng(0)
        fit = fold.fit if row.share == 1 else random.permutation(fold.fit)[: int(row.share * len(fold.fit))]
        residuals: Floats = contrasts(world.scores - fold.expected)
        wanted = residuals[fit] if row.targets is None else row.targets(residuals, fit)
        read = row.inputs(fit)
        grown = grow(read[fit], wanted.astype(np.float32), trees=TREES, seed=0, cores=1).shrunk(SHRINKAGE)
        predicted = contrasts(grown.predict(read[fold.held]).astype(np.float64))
        truth = residuals[fold.held]
        explained.append(1 - ((truth - predicted) ** 2).sum() / (truth**2).sum())
        expected, rows = fold.expected[fold.held], np.arange(len(fold.held))
        own = world.scores[fold.held]
        scores.append(own[rows, (expected + predicted).argmax(axis=1)])
        before.append(own[rows, expected.argmax(axis=1)])
    looked, aside = np.concatenate(scores[:-1]), paired_interval(scores[-1], before[-1])
    found = paired_interval(looked, np.concatenate(before[:-1]))
    return Gain(
        row.name,
        float(np.mean(explained[:-1])),
        float(looked.mean()),
        *(found.difference, found.low, found.high),
        *(aside.difference, aside.low, aside.high),
    )


def leading(count: int) -> Targets:
    """The residuals' `count` leading components."""

    def project(residuals: Floats, rows: Rows) -> Floats:
        return _reconstructed(residuals[rows], count)

    return project


def leading_with(others: Floats, labels: Rows, count: int) -> Targets:
    """The residuals as `count` components of them and of `others` (prompts, experts outside of the table)."""

    def project(residuals: Floats, rows: Rows) -> Floats:
        outside = others[rows].copy()
        for label in np.unique(labels[rows]):
            inside = labels[rows] == label
            outside[inside] -= outside[inside].mean(axis=0)
        return _reconstructed(np.concatenate([residuals[rows], outside], axis=1), count)[
            :, : residuals.shape[1]
        ]

    return project


def _reconstructed(values: Floats, count: int) -> Floats:
    mean = values.mean(axis=0)
    left, strengths, right = np.linalg.svd(values - mean, full_matrices=False)
    found: Floats = (left[:, :count] * strengths[:count]) @ right[:count] + mean
    return found


def outside_scores(world: World, path: Path) -> Floats:
    """Scores of the experts in `path` that the table lacks, (prompts, experts), a missing one as its mean;
    only experts with four fifths of the prompts."""
    others = {
        name: column for name, column in _columns(path, world).items() if name not in world.table.expert_names
    }
    wide = [column for column in others.values() if np.isnan(column).mean() < 0.2]
    return np.stack([np.where(np.isnan(column), np.nanmean(column), column) for column in wide], axis=1)


def _columns(path: Path, world: World) -> dict[str, Floats]:
    """The columns of a file of uid and numbers by expert, each (prompts,) and NaN where there is none."""
    import pyarrow.parquet

    uids, *names = pyarrow.parquet.read_schema(path).names
    read = pyarrow.parquet.read_table(path).to_pydict()
    row_of = {str(uid): row for row, uid in enumerate(read[uids])}
    rows = [row_of.get(uid) for uid in world.table.uids]
    return {
        name: np.asarray(
            [np.nan if row is None or read[name][row] is None else read[name][row] for row in rows],
            dtype=np.float64,
        )
        for name in names
    }


def predicted_lengths(world: World, path: Path, inputs: Inputs) -> Inputs:
    """`inputs` with the logarithm of each expert's predicted length of answer, where lengths are known."""
    columns = _columns(path, world)
    lengths = np.log1p(np.stack([columns[name] for name in world.table.expert_names], axis=1))

    def read(rows: Rows) -> Matrix:
        own = inputs(rows)
        known = rows[np.isfinite(lengths[rows]).all(axis=1)]
        grown = grow(own[known], lengths[known].astype(np.float32), trees=TREES // 2, seed=1, cores=1)
        return np.concatenate([own, grown.shrunk(SHRINKAGE).predict(own)], axis=1)

    return read


def shuffled(world: World, inputs: Inputs, seed: int) -> Inputs:
    """`inputs` with prompts exchanged within their category, all but the posterior, which comes last."""

    def read(rows: Rows) -> Matrix:
        random = np.random.default_rng(seed)
        own = inputs(rows).copy()
        beside = own.shape[1] - world.posterior.shape[1]
        for label in np.unique(world.labels):
            inside = np.flatnonzero(world.labels == label)
            own[inside, :beside] = own[random.permutation(inside), :beside]
        return own

    return read


def rows_of(
    world: World, others: Path | None, lengths: Path | None, prefill: tuple[Path, int] | None
) -> list[Row]:
    """The report's rows."""
    features = world.features
    embedding = _of(features[:, :DIMENSION])
    form = _whole(format_columns(features))
    best = _reads(world, embedding, _of(middle_columns(features)), form)
    return [
        Row("posterior alone", _reads(world)),
        Row("format", _reads(world, form)),
        Row("embedding and format (the correction)", _reads(world, embedding, form)),
        Row("with the encoder's middle layer", best),
        Row("with n-grams", _reads(world, embedding, _of(_folded(lexical_columns(features))), form)),
        Row("with the embedding without options", _reads(world, embedding, _without_options(world), form)),
        *([] if prefill is None else _prefill_rows(world, *prefill)),
        *(Row(f"targets: components, {count}", best, leading(count)) for count in (1, 2, 4)),
        *([] if others is None else _outside_rows(world, others, best)),
        *(
            []
            if lengths is None
            else [Row("with predicted lengths", predicted_lengths(world, lengths, best))]
        ),
        *(
            Row(f"shuffled within the category, {seed + 1}", shuffled(world, best, seed))
            for seed in range(SHUFFLES)
        ),
        *(Row(f"with the middle layer, {share:g} of the prompts", best, None, share) for share in SHARES),
    ]


def _reads(world: World, *parts: Inputs) -> Inputs:
    """The parts side by side, and the posterior last."""
    return lambda rows: np.concatenate([*(part(rows) for part in parts), world.posterior], axis=1)


def _whole(matrix: Matrix) -> Inputs:
    return lambda rows: matrix


def _of(matrix: Matrix) -> Inputs:
    return lambda rows: components(matrix, rows)


def _folded(grams: Matrix) -> Matrix:
    """Hashed counts in GRAM_BUCKETS buckets: principal components of thousands take minutes."""
    folded: Matrix = grams.reshape(len(grams), -1, GRAM_BUCKETS).sum(axis=1)
    return folded


def _without_options(world: World) -> Inputs:
    stems = [_OPTION_LINE.sub("", prompt).strip() or prompt for prompt in world.table.prompts]
    return _of(encode_cached(load_encoder(), stems, vectors_folder()))


def _prefill_rows(world: World, model: Path, tokens: int) -> list[Row]:
    states = prefill_states(model, world.table.prompts, tokens)
    present = (_of(world.features[:, :DIMENSION]), _whole(format_columns(world.features)))
    parts = np.split(states, len(LAYERS), axis=1)
    return [
        *(
            Row(f"with SmolLM2's layer {layer}", _reads(world, *present, _of(part)))
            for layer, part in zip(LAYERS, parts, strict=True)
        ),
        Row(f"with SmolLM2's layers {' and '.join(map(str, LAYERS))}", _reads(world, *present, _of(states))),
    ]


def _outside_rows(world: World, path: Path, best: Inputs) -> list[Row]:
    outside = outside_scores(world, path)
    count = outside.shape[1]
    return [
        Row(
            f"targets: {OUTSIDE_COMPONENTS} components with {count} further experts",
            best,
            leading_with(outside, world.labels, OUTSIDE_COMPONENTS),
        ),
        Row(
            f"told the scores of {count} further experts",
            _reads(world, _whole(outside.astype(np.float32))),
        ),
    ]


def measure(world: World, rows: Sequence[Row], out: Path) -> list[Gain]:
    """Computes what `out` does not hold yet."""
    kept = out / f"{world.name}.json"
    done = {each["name"]: Gain(**each) for each in json.loads(kept.read_text())} if kept.exists() else {}
    for row in rows:
        if row.name not in done:
            sys.stderr.write(f"{world.name}: {row.name}\n")
            done[row.name] = trial(world, row)
            write_json([asdict(each) for each in done.values()], kept)
    return [done[row.name] for row in rows]


def section(world: World, gains: Sequence[Gain]) -> list[str]:
    """The table of one outcome table, in Markdown."""
    looked = np.concatenate([fold.held for fold in world.folds[:-1]])
    best = world.scores[world.folds[-1].fit].mean(axis=0).argmax()
    lines = [
        f"{len(looked)} prompts; best single expert {world.scores[looked, best].mean():.4f}, category map "
        f"{gains[0].score - gains[0].difference:.4f}, oracle {world.scores[looked].max(axis=1).mean():.4f}; "
        f"{len(world.folds[-1].held)} prompts put aside.",
        "",
        "| reads | explained | score | difference from the map, 95 % interval | put aside |",
        "|---|---|---|---|---|",
    ]
    for each in gains:
        lines.append(
            f"| {each.name} | {each.explained:.2%} | {each.score:.4f} "
            f"| {each.difference:+.4f} ({each.low:+.4f} to {each.high:+.4f}) "
            f"| {each.aside:+.4f} ({each.aside_low:+.4f} to {each.aside_high:+.4f}) |"
        )
    return lines


def _named(given: Sequence[str]) -> dict[str, Path]:
    return {name: Path(path) for name, _, path in (each.partition("=") for each in given)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--others", nargs="+", default=(), metavar="TABLE=FILE")
    parser.add_argument("--lengths", nargs="+", default=(), metavar="TABLE=FILE")
    parser.add_argument("--prefill", type=Path, metavar="MODEL", help="a folder of SmolLM2")
    parser.add_argument("--prefill-tokens", type=int, default=192, help="of each prompt, at most")
    parser.add_argument("--out", type=Path, default=Path("var/signal"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    others, lengths = _named(given.others), _named(given.lengths)
    prefill = None if given.prefill is None else (given.prefill, given.prefill_tokens)
    for name in given.tables:
        world = read_world(given.outcomes / name)
        gains = measure(world, rows_of(world, others.get(name), lengths.get(name), prefill), given.out)
        sys.stdout.write("\n".join([f"### {name}", "", *section(world, gains), "", ""]))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
