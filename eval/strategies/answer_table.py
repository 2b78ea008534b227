"""Outcome tables with the experts' answers.

    answers.parquet   uid, one column per expert with its final answer (null or empty for none)

Answers are compared stripped and case-folded; the score of an answer is the mean over the experts that gave
it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError
from routers.outcome_table import OutcomeTable, read_outcomes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FILE = "answers.parquet"
MIN_AGREEMENT = 0.02
"""Share of equal pairs of answers that voting needs."""


class StrategyReplayError(EvalError):
    """A table that strategies cannot be replayed on; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete outcome table with coded answers.

    `votes` (prompts, experts): index of the expert's answer among the prompt's distinct ones, -1 for none;
    `option_scores` (prompts, options): score of each distinct answer, 0 for none; `left_out`: number of
    incompletely scored prompts.
    """

    table: OutcomeTable
    votes: Ints
    option_scores: Floats
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.table)

    @property
    def sizes(self) -> Floats:
        """Active parameters of each expert, in billions."""
        return np.asarray([card.active_params_b for card in self.table.experts], dtype=np.float64)

    @property
    def prices(self) -> Floats:
        """Mean of input and output price of each expert, in $ per million tokens; 0 unknown."""
        pairs = [(card.price_input or 0.0, card.price_output or 0.0) for card in self.table.experts]
        mean: Floats = np.asarray(pairs, dtype=np.float64).mean(axis=1)
        return mean

    @property
    def scores(self) -> Floats:
        return self.table.scores.astype(np.float64)

    def take(self, rows: Ints) -> "Answered":
        return Answered(self.table.take(rows), self.votes[rows], self.option_scores[rows])


def read_answered(folder: Path) -> Answered:
    """The table in `folder` with its answers. Raises OutcomeError and StrategyReplayError."""
    import pyarrow
    import pyarrow.parquet

    table = read_outcomes(folder)
    path = folder / FILE
    try:
        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    except FileNotFoundError as error:
        raise StrategyReplayError(
            f"{path} is missing: strategies compare what experts answered. It needs a column uid and one "
            "per expert with its final answer (empty where it gave none), as `coterie score` writes it"
        ) from error
    except (pyarrow.ArrowException, OSError) as error:
        raise StrategyReplayError(f"{path} is not a Parquet file: {error}") from error
    return answered(table, columns, str(path))


def answered(table: OutcomeTable, columns: dict[str, list[Any]], source: str = FILE) -> Answered:
    """`table` with the answers of `columns` (uid and one per expert), in any order of rows. Raises
    StrategyReplayError for missing or repeated prompts, missing columns, and too little agreement."""
    missing = [name for name in ("uid", *table.expert_names) if name not in columns]
    if missing:
        raise StrategyReplayError(f"{source}: no column {', '.join(missing)}")
    row_of = {str(uid): row for row, uid in enumerate(columns["uid"])}
    if len(row_of) < len(columns["uid"]):
        raise StrategyReplayError(f"{source}: some uid is there twice: ids must be unique")
    unanswered = [uid for uid in table.uids if uid not in row_of]
    if unanswered:
        raise StrategyReplayError(
            f"{source}: no row for {unanswered[0]} and {len(unanswered) - 1} more prompts"
        )
    scored = np.flatnonzero(~np.isnan(table.scores).any(axis=1))
    if not len(scored):
        raise StrategyReplayError("no prompt of the table is scored for every expert")
    kept = table.take(scored)
    places = [row_of[uid] for uid in kept.uids]
    texts = [[_plain(columns[name][place]) for name in table.expert_names] for place in places]
    votes = np.full(kept.scores.shape, -1, dtype=np.int64)
    for row, given in enumerate(texts):
        number: dict[str, int] = {}
        votes[row] = [-1 if text is None else number.setdefault(text, len(number)) for text in given]
    if len(table.experts) > 1 and _agreement(votes) < MIN_AGREEMENT:
        raise StrategyReplayError(
            f"{source}: the experts' answers hardly ever agree, so they cannot vote: free text? Give the "
            "final answer alone, such as the letter of a choice or a number"
        )
    return Answered(kept, votes, _option_scores(votes, kept.scores), len(table) - len(scored))


def _plain(answer: Any) -> str | None:
    text = "" if answer is None or answer != answer else str(answer).strip().casefold()
    return text or None


def _option_scores(votes: Ints, scores: npt.NDArray[np.float32]) -> Floats:
    options = int(votes.max(initial=-1)) + 1
    found = np.zeros((len(votes), options))
    for option in range(options):
        given = votes == option
        found[:, option] = np.where(given, scores, 0).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
    return found


def _agreement(votes: Ints) -> float:
    """Share of equal pairs of given answers."""
    equal = pairs = 0
    for first in range(votes.shape[1]):
        for second in range(first):
            both = (votes[:, first] >= 0) & (votes[:, second] >= 0)
            pairs += int(both.sum())
            equal += int((votes[both, first] == votes[both, second]).sum())
    return equal / pairs if pairs else 0.0
