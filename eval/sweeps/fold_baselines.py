"""Cross-validated baselines of a sweep: random, best single expert, kNN, k-means (Avengers), perfect category
map, oracle, and every expert alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.baselines import best_single, category_choices, kmeans_choices, knn_choices
from routers.evidence import Evidence, prompt_digest
from routers.fitting.splits import assign_folds, fold_splits
from routers.outcome_table import OutcomeTable, table_costs
from routers.request import Matrix

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldBaseline:
    """Scores and costs of one baseline over the rows of a table."""

    scores: Column
    active_params_b: Column
    cost: Column
    """$ of each request, NaN unknown."""


def labels_of(table: OutcomeTable) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The table's sorted categories, and the index of each row's."""
    categories = tuple(sorted(set(table.categories)))
    index = {name: row for row, name in enumerate(categories)}
    return categories, np.asarray([index[each] for each in table.categories], dtype=np.int64)


def baselines_of(
    table: OutcomeTable, embeddings: Matrix | None, *, folds: int, seed: int
) -> Mapping[str, FoldBaseline]:
    """All baselines on a complete `table`; without `embeddings` no kNN and k-means, with too few prompts for
    `folds` only random, oracle and single experts."""
    rows = np.arange(len(table))
    active = np.asarray([card.active_params_b for card in table.experts])
    paid = table_costs("cost", table).astype(np.float64)

    def chosen(columns: npt.NDArray[np.int64]) -> FoldBaseline:
        return FoldBaseline(
            table.scores[rows, columns].astype(np.float64), active[columns], paid[rows, columns]
        )

    even = np.ones(len(table))
    found = {
        "random": FoldBaseline(
            table.scores.mean(axis=1, dtype=np.float64), even * active.mean(), paid.mean(axis=1)
        )
    }
    if len(table) >= 2 * folds:
        for name, columns in _chosen_elsewhere(table, embeddings, folds, seed).items():
            found[name] = chosen(columns)
    # Ties of the oracle go to the smallest expert.
    order = np.argsort(active, kind="stable")
    found["oracle"] = chosen(order[table.scores[:, order].argmax(axis=1)])
    for column, card in enumerate(table.experts):
        found[f"expert {card.name}"] = chosen(np.full(len(table), column, dtype=np.int64))
    return found


def _chosen_elsewhere(
    table: OutcomeTable, embeddings: Matrix | None, folds: int, seed: int
) -> Mapping[str, npt.NDArray[np.int64]]:
    categories, labels = labels_of(table)
    kinds = ["best_single", "category_oracle", *([] if embeddings is None else ["knn", "kmeans"])]
    columns = {kind: np.zeros(len(table), dtype=np.int64) for kind in kinds}
    vectors = np.zeros((len(table), 1), dtype=np.float32) if embeddings is None else embeddings
    for train, held in fold_splits(assign_folds(table.prompts, labels, folds, seed)):
        evidence = Evidence(
            vectors[train],
            table.scores[train],
            labels[train],
            tuple(prompt_digest(table.prompts[int(row)]) for row in train),
            table.expert_names,
        )
        columns["best_single"][held] = best_single(evidence)
        truth = [table.categories[int(row)] for row in held]
        columns["category_oracle"][held] = category_choices(evidence, categories, truth)
        if embeddings is not None:
            columns["knn"][held] = knn_choices(evidence, embeddings[held])
            columns["kmeans"][held] = kmeans_choices(evidence, embeddings[held])
    return columns
