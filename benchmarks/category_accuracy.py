"""Category accuracy of a composition: on our own test prompts and on public labelled sets.

    python -m benchmarks.category_accuracy [--mt-bench question.jsonl] [--flask flask_evaluation.parquet]
                                        [--precisions]

Prints a table, plots the confusion matrix and writes the figures as JSON. Transfer sets are not shipped;
pass their paths.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from base.json_documents import write_json
from base.jsonl import read_rows
from prompts.seeds import load_seeds
from routers.calibration import expected_calibration_error, softmax
from routers.classifiers import CLASSIFIERS, LogisticClassifier
from routers.composition import Composition, load_composition
from routers.embeddings import vectors_folder
from routers.encoder import Encoder, Precision, load_encoder
from routers.features import features_of_prompts, format_columns, lexical_columns, middle_columns
from routers.request import Matrix

FLASK_DOMAINS: Mapping[str, frozenset[str]] = {
    "Humanities": frozenset({"humanities", "writing", "roleplay"}),
    "History": frozenset({"humanities"}),
    "Culture": frozenset({"humanities", "writing", "smalltalk", "roleplay"}),
    "Social Science": frozenset({"humanities", "business", "law"}),
    "Language": frozenset({"languages", "writing", "summarization", "extraction"}),
    "Math": frozenset({"math"}),
    "Coding": frozenset({"coding"}),
    "Natural Science": frozenset({"stem"}),
    "Technology": frozenset({"stem", "coding"}),
    "Health": frozenset({"health"}),
}
"""Our categories by FLASK domain. Domains are topics and our categories are tasks, so several are correct;
a prompt with two domains may be in the categories of either."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Stage 1 on one set. `sure`: share above the threshold; `accuracy_when_sure`: accuracy on these."""

    name: str
    prompts: int
    accuracy: float
    sure: float
    accuracy_when_sure: float
    ece: float | None


def measure(
    name: str,
    prompts: Sequence[str],
    right: Sequence[frozenset[str]],
    composition: Composition,
    encoder: Encoder,
) -> tuple[Accuracy, Matrix]:
    """Accuracy on `prompts`, each with a set `right` of correct categories; and the posterior."""
    features = features_of_prompts(encoder, prompts, vectors_folder())
    posterior = softmax(composition.classifier.logits(features), composition.temperature)
    confidence = posterior.max(axis=1)
    guesses = [composition.categories[best] for best in posterior.argmax(axis=1)]
    correct = np.asarray([guess in allowed for guess, allowed in zip(guesses, right, strict=True)])
    policy = composition.policy
    novel = composition.novelty.scores(features) > policy.ood_threshold
    sure = (confidence >= policy.threshold) & ~novel
    # Calibration is only defined with a single correct category.
    single = all(len(allowed) == 1 for allowed in right)
    found = Accuracy(
        name=name,
        prompts=len(prompts),
        accuracy=round(float(correct.mean()), 4),
        sure=round(float(sure.mean()), 4),
        accuracy_when_sure=round(float(correct[sure].mean()), 4),
        ece=round(expected_calibration_error(confidence, correct), 4) if single else None,
    )
    return found, posterior


def accuracy_by_precision() -> Mapping[str, Mapping[str, float]]:
    """Effect of int8 quantization of the encoder: precision → classifier → accuracy on the test prompts.

    Stage 1 is fitted on the seed prompts alone, with either precision for fitting and testing.
    """
    found: dict[str, dict[str, float]] = {}
    for precision in get_args(Precision):
        names, rows, labels, held, truth = _seed_features(load_encoder(precision=precision))
        found[precision] = {
            name: float((kind.fit(rows, labels, len(names)).logits(held).argmax(axis=1) == truth).mean())
            for name, kind in CLASSIFIERS.items()
        }
    return found


def accuracy_by_features() -> Mapping[str, float]:
    """Accuracy of logistic regression on the test prompts by feature subset."""
    names, rows, labels, held, truth = _seed_features(load_encoder())
    found = {}
    for name, hidden in (
        ("the embedding alone", (middle_columns, lexical_columns, format_columns)),
        ("embedding and format", (middle_columns, lexical_columns)),
        ("embedding and n-grams", (middle_columns, format_columns)),
        ("embedding and middle layers", (lexical_columns, format_columns)),
        ("all but the middle layers", (middle_columns,)),
        ("all", ()),
    ):
        shown = []
        for features in (rows, held):
            changed = features.copy()
            for columns in hidden:
                columns(changed)[...] = 0
            shown.append(changed)
        model = LogisticClassifier.fit(shown[0], labels, len(names))
        found[name] = float((model.logits(shown[1]).argmax(axis=1) == truth).mean())
    return found


def _seed_features(
    encoder: Encoder,
) -> tuple[Sequence[str], Matrix, npt.NDArray[np.int64], Matrix, npt.NDArray[np.int64]]:
    """Categories; features and labels of the seed prompts; and of the test prompts."""
    parts = load_seeds("fit"), load_seeds("test")
    names = sorted({seed.category for seed in parts[0]})
    features = []
    for part in parts:
        texts = [seed.prompt for seed in part]
        features.append(features_of_prompts(encoder, texts, vectors_folder()))
    fit, test = (np.asarray([names.index(seed.category) for seed in part], dtype=np.int64) for part in parts)
    return names, features[0], fit, features[1], test


def read_mt_bench(path: Path) -> tuple[list[str], list[frozenset[str]]]:
    """First turns of MT-Bench's question file with their categories, whose names equal ours."""
    rows = [row for _, row in read_rows(path)]
    return [row["turns"][0] for row in rows], [frozenset({row["category"]}) for row in rows]


def read_flask(path: Path) -> tuple[list[str], list[frozenset[str]]]:
    """FLASK's instructions with the categories of their domains; unlabelled ones are skipped."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["instruction", "domain"]).to_pydict()
    pairs = [
        (text, frozenset().union(*(FLASK_DOMAINS[domain] for domain in domains)))
        for text, domains in zip(table["instruction"], table["domain"], strict=True)
        if domains
    ]
    return [text for text, _ in pairs], [allowed for _, allowed in pairs]


def draw_confusion(categories: Sequence[str], confusion: Matrix, title: str, path: Path) -> None:
    """Plot the confusion matrix: rows true, columns predicted, counts in the cells."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 7.6), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(confusion > 0):
        axes.text(
            column,
            row,
            f"{confusion[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "#16324f",
            fontsize=9,
        )
    axes.set_xticks(range(len(categories)), categories, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(categories)), categories)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=11)
    axes.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def accuracies(
    folder: Path, picture: Path, mt_bench: Path | None = None, flask: Path | None = None
) -> list[Accuracy]:
    """Stage 1 of the composition in `folder` on every available set; plots our test prompts' confusion."""
    composition = load_composition(folder)
    encoder = load_encoder()
    seeds = load_seeds("test")
    sets = {"our test prompts": ([s.prompt for s in seeds], [frozenset({s.category}) for s in seeds])}
    if mt_bench:
        sets["MT-Bench, first turns"] = read_mt_bench(mt_bench)
    if flask:
        sets["FLASK domains"] = read_flask(flask)
    results = []
    for name, (prompts, right) in sets.items():
        found, posterior = measure(name, prompts, right, composition, encoder)
        results.append(found)
        if name == "our test prompts":
            confusion = np.zeros((len(composition.categories),) * 2, dtype=np.float32)
            truth = [composition.categories.index(seed.category) for seed in seeds]
            np.add.at(confusion, (truth, posterior.argmax(axis=1)), 1)
            title = f"{len(prompts)} test prompts, accuracy {found.accuracy:.1%}"
            draw_confusion(composition.categories, confusion, title, picture)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composition", type=Path, default=Path("routers/compositions/cpu"))
    parser.add_argument(
        "--precisions",
        action="store_true",
        help="compare int8 with float32, and the parts of the features, too",
    )
    parser.add_argument("--mt-bench", type=Path, help="question.jsonl of MT-Bench")
    parser.add_argument("--flask", type=Path, help="flask_evaluation.parquet")
    parser.add_argument("--picture", type=Path, default=Path("docs/explanation/images/confusion.png"))
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    results = accuracies(options.composition, options.picture, options.mt_bench, options.flask)
    for each in results:
        ece = f"  ECE {each.ece:.3f}" if each.ece is not None else ""
        sys.stdout.write(
            f"{each.name:24} {each.prompts:5} prompts  accuracy {each.accuracy:.3f}  "
            f"sure of {each.sure:.0%}, right in {each.accuracy_when_sure:.3f} of them{ece}\n"
        )
    if options.precisions:
        for precision, by_classifier in accuracy_by_precision().items():
            shown = "  ".join(f"{name} {accuracy:.3f}" for name, accuracy in by_classifier.items())
            sys.stdout.write(f"{precision:24} {shown}\n")
        for parts, accuracy in accuracy_by_features().items():
            sys.stdout.write(f"{parts:24} logistic {accuracy:.3f}\n")
    if options.json:
        write_json([asdict(each) for each in results], options.json)


if __name__ == "__main__":
    main()
