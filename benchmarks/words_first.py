"""How many requests could be decided by their words, without the encoder: `python -m benchmarks.words_first`.

A classifier that reads a request without the transformer (hashed n-grams, format, a bag of its tokens, and
the mean of the encoder's own token vectors) decides what is clear to it, and the full reading the rest. How
clear it has to be is calibrated on held-out prompts, so that TARGET of all decisions (expert, and whether the
category is sure) are those of the full reading. The table says what share of requests that is, and whether
the decisions still agree on prompts of another kind. The router has no such shortcut: this is why.

Each shipped composition is read by a classifier of the seed prompts' categories, with its own utilities,
costs and thresholds. For the scale, the encoder itself with a classifier of half of the prompts stands in the
words' place. `--mt-bench` and `--table` add prompts that nothing here was fitted on. Needs the `encoder`
extra.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.json_documents import write_json
from base.jsonl import read_rows
from base.terminal import console
from prompts.seeds import load_seeds
from routers.calibration import fit_temperature, softmax
from routers.classifiers import LogisticClassifier
from routers.classifiers.logistic import SPREAD, STRENGTH
from routers.composition import best_of, load_composition
from routers.conversation import prompt_text
from routers.embeddings import vectors_folder
from routers.encoder import default_encoder_folder, load_encoder
from routers.features import features_of_prompts, format_columns, lexical_columns
from routers.fitting.splits import Index, assign_folds, fold_splits
from routers.outcome_table import read_outcomes
from routers.request import Matrix, Vector

COMPOSITIONS = Path(__file__).resolve().parents[1] / "routers" / "compositions"
PROFILES = ("cpu", "gpu", "tiny")
TARGET = 0.995
SEEDS, MT_BENCH = "test prompts", "MT-Bench"
RARE = 1e-3
"""a of a / (a + p), the weight of a token that makes up p of the text (Arora et al. 2017, SIF)."""

Decide = Callable[[Matrix], Matrix]
"""Posterior (rows, categories) → expert and whether the category is sure, (rows, 2)."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """`full`: rows of `routers.features`; `words`: what the classifier of words reads (sparse); `labels`:
    categories, None where those of the composition do not apply."""

    name: str
    full: Matrix
    words: Any  # scipy.sparse has no types
    labels: Index | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Calibrated posteriors of `prompts`, (rows, categories): of the full reading and of the words."""

    prompts: Prompts
    full: Matrix
    words: Matrix


@dataclass(frozen=True, slots=True)
class Shares:
    """`by_words`: share that the words decide; `decisions` and `categories`: share of all requests that are
    decided, and classified, as by the full reading; accuracies of the category with both readings."""

    composition: str
    prompts: str
    count: int
    by_words: float
    decisions: float
    categories: float
    accuracy: float | None = None
    accuracy_full: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.words_first", description=__doc__)
    parser.add_argument("--mt-bench", type=Path, metavar="FILE", help="question.jsonl of MT-Bench")
    parser.add_argument("--table", type=Path, metavar="DIR", help="an outcome table, for its prompts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    shares = measure(given.mt_bench, given.table)
    _print(shares)
    if given.json is not None:
        write_json([asdict(each) for each in shares], given.json)
    return 0


def measure(mt_bench: Path | None = None, table: Path | None = None) -> list[Shares]:
    """The shares of every composition on every set of prompts."""
    seeds, test = load_seeds("fit"), load_seeds("test")
    names = sorted({each.category for each in seeds})
    texts = [each.prompt for each in seeds]
    reader = WordReader(texts)
    known = reader.read("held-out seeds", texts, [names.index(each.category) for each in seeds])
    others = [reader.read(SEEDS, [s.prompt for s in test], [names.index(s.category) for s in test])]
    if mt_bench is not None:
        others.append(reader.read(MT_BENCH, [row["turns"][0] for _, row in read_rows(mt_bench)]))
    if table is not None:
        others.append(reader.read(table.name, read_outcomes(table).prompts))
    folds = assign_folds(texts, _labels(known))
    readings = _readings(known, others, folds)
    shares = [share for profile in PROFILES for share in _shares(profile, _shipped(profile, names), readings)]
    decide = _shipped("gpu", names)
    return [*shares, *_shares("gpu, half of the prompts for words", decide, [_by_half(known, folds)])]


class WordReader:
    """Makes `Prompts` of texts. `typical` prompts tell how frequent a token is (rare ones weigh more) and how
    wide a column."""

    def __init__(self, typical: Sequence[str]) -> None:
        import onnx
        from onnx import numpy_helper
        from tokenizers import Tokenizer

        folder = default_encoder_folder()
        self._encoder = load_encoder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        graph = onnx.load(folder / "float32.onnx").graph
        (table,) = (t for t in graph.initializer if re.search(r"word_embeddings", t.name))
        vectors = numpy_helper.to_array(table)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors: Matrix = vectors - vectors.mean(axis=0)
        counts = np.asarray(self._counts([prompt_text(each) for each in typical]).sum(axis=0)).ravel() + 1
        self._weights: Vector = (RARE / (RARE + counts / counts.sum())).astype(np.float32)
        full, bag = self._read(typical)
        self._scale = SPREAD / float((bag @ self._vectors).std())
        self._format_scale = np.minimum(1, SPREAD / np.maximum(format_columns(full).std(axis=0), 1e-9))

    def read(self, name: str, prompts: Sequence[str], labels: Sequence[int] | None = None) -> Prompts:
        """The prompts as the service reads them, and by their words."""
        import scipy.sparse as sp

        full, bag = self._read(prompts)
        dense = [self._scale * (bag @ self._vectors), self._format_scale * format_columns(full)]
        words = sp.hstack([*map(sp.csr_matrix, (*dense, lexical_columns(full))), bag]).tocsr()
        given = None if labels is None else np.asarray(labels, dtype=np.int64)
        return Prompts(name, full, words.astype(np.float32), given)

    def _read(self, prompts: Sequence[str]) -> tuple[Matrix, Any]:
        """Rows of `routers.features`, and the bags of tokens (sparse)."""
        full = features_of_prompts(self._encoder, prompts, vectors_folder())
        return full, self._bag([prompt_text(each) for each in prompts])

    def _counts(self, texts: Sequence[str]) -> Any:
        import scipy.sparse as sp

        found = [Counter(each.ids) for each in self._tokenizer.encode_batch(texts, add_special_tokens=False)]
        rows = np.repeat(np.arange(len(texts)), [len(each) for each in found])
        columns = [token for each in found for token in each]
        values = np.asarray([count for each in found for count in each.values()], dtype=np.float32)
        return sp.csr_matrix((values, (rows, columns)), shape=(len(texts), len(self._vectors)))

    def _bag(self, texts: Sequence[str]) -> Any:
        """Log counts of tokens times their weights, rows of unit length (sparse)."""
        import scipy.sparse as sp

        bag = self._counts(texts)
        bag.data = np.log1p(bag.data) * self._weights[bag.indices]
        lengths = np.sqrt(np.asarray(bag.multiply(bag).sum(axis=1)).ravel())
        return (sp.diags(1 / np.maximum(lengths, 1e-9)) @ bag).tocsr()


def decided_by_words(confidence: Vector, agrees: npt.NDArray[np.bool_], target: float = TARGET) -> float:
    """The confidence from which the words decide: the lowest at which at least `target` of all requests are
    decided as `agrees` says; infinity where there is none."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~agrees[order])
    last_of_equals = np.append(np.diff(confidence[order]) != 0, True)
    good = np.flatnonzero(last_of_equals & (wrong <= (1 - target) * len(order) + 1e-9))
    return float(confidence[order][good[-1]]) if len(good) else float("inf")


def _shares(composition: str, decide: Decide, readings: Sequence[Reading]) -> Iterator[Shares]:
    """Calibrated on the first of `readings`, which is of held-out prompts."""
    held_out = readings[0]
    agrees = (decide(held_out.full) == decide(held_out.words)).all(axis=1)
    threshold = decided_by_words(held_out.words.max(axis=1), agrees)
    for each in readings:
        cheap = each.words.max(axis=1) >= threshold
        both = np.where(cheap[:, None], each.words, each.full)
        yield Shares(
            composition,
            each.prompts.name,
            len(both),
            float(cheap.mean()),
            float((decide(both) == decide(each.full)).all(axis=1).mean()),
            float((both.argmax(axis=1) == each.full.argmax(axis=1)).mean()),
            _accuracy(each.prompts, both),
            _accuracy(each.prompts, each.full),
        )


def _accuracy(prompts: Prompts, posterior: Matrix) -> float | None:
    return None if prompts.labels is None else float((posterior.argmax(axis=1) == prompts.labels).mean())


def _readings(known: Prompts, others: Sequence[Prompts], folds: Index) -> list[Reading]:
    """Of `known` prompts held out, fold by fold, and of `others` by classifiers of all that are known."""
    labels, categories = _labels(known), int(_labels(known).max()) + 1
    full, words = (np.zeros((len(labels), categories), dtype=np.float32) for _ in range(2))
    for fit, held in fold_splits(folds):
        full[held] = LogisticClassifier.fit(known.full[fit], labels[fit], categories).logits(known.full[held])
        words[held] = _fit_words(known.words[fit], labels[fit])(known.words[held])
    heat, heat_of_words = fit_temperature(full, labels), fit_temperature(words, labels)
    of_all = LogisticClassifier.fit(known.full, labels, categories)
    of_words = _fit_words(known.words, labels)
    logits = [(full, words), *((of_all.logits(each.full), of_words(each.words)) for each in others)]
    return [
        Reading(prompts, softmax(full, heat), softmax(words, heat_of_words))
        for prompts, (full, words) in zip((known, *others), logits, strict=True)
    ]


def _by_half(known: Prompts, folds: Index) -> Reading:
    """Held out, with a classifier of half of the prompts in the words' place: what the encoder itself agrees
    to."""
    labels, categories = _labels(known), int(_labels(known).max()) + 1
    full, half = (np.zeros((len(labels), categories), dtype=np.float32) for _ in range(2))
    for fit, held in fold_splits(folds):
        for logits, rows in ((full, fit), (half, fit[::2])):
            fitted = LogisticClassifier.fit(known.full[rows], labels[rows], categories)
            logits[held] = fitted.logits(known.full[held])
    return Reading(known, *(softmax(logits, fit_temperature(logits, labels)) for logits in (full, half)))


def _fit_words(words: Any, labels: Index) -> Callable[[Any], Matrix]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, max_iter=150, tol=2e-3).fit(words, labels)
    return lambda rows: np.asarray(model.decision_function(rows), dtype=np.float32)


def _shipped(profile: str, names: Sequence[str]) -> Decide:
    """The decisions of a shipped composition, for posteriors over the categories `names`."""
    composition = load_composition(COMPOSITIONS / profile)
    rows = [composition.categories.index(each) for each in names]
    generalist = composition.expert_names.index(composition.policy.generalist)

    def decide(posterior: Matrix) -> Matrix:
        spread = np.zeros((len(posterior), len(composition.categories)), dtype=np.float32)
        spread[:, rows] = posterior
        best = best_of(spread @ composition.utilities - composition.costs(spread), composition.experts)
        sure = posterior.max(axis=1) >= composition.policy.threshold
        return np.stack([np.where(sure, best, generalist), sure], axis=1).astype(np.float32)

    return decide


def _labels(prompts: Prompts) -> Index:
    if prompts.labels is None:
        raise ValueError(f"{prompts.name} have no categories")
    return prompts.labels


def _print(shares: Sequence[Shares]) -> None:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    columns: Mapping[str, Callable[[Shares], str]] = {
        "composition": lambda each: each.composition,
        "prompts": lambda each: each.prompts,
        "n": lambda each: f"{each.count:,}",
        "by words": lambda each: f"{each.by_words:.1%}",
        "decisions agree": lambda each: f"{each.decisions:.2%}",
        "categories agree": lambda each: f"{each.categories:.2%}",
        "accuracy": lambda each: "–" if each.accuracy is None else f"{each.accuracy:.4f}",
        "full reading": lambda each: "–" if each.accuracy_full is None else f"{each.accuracy_full:.4f}",
    }
    for name in columns:
        table.add_column(name, justify="left" if name in ("composition", "prompts") else "right")
    for each in shares:
        table.add_row(*(cell(each) for cell in columns.values()))
    console(stderr=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
