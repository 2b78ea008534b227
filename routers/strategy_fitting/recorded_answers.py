"""Outcome tables with the experts' answers, as strategies compare them.

    answers.parquet   uid, one column per expert with its answer (null or empty for none)
    logprobs.parquet  uid, one column per expert: mean log-probability of the answer's tokens; optional

A cell without a score is an expert that could not be asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routers.outcome_table import OutcomeTable, read_outcomes
from routers.strategies.strategy_policy import DIGITS, Booleans, Floats, Ints, State

ANSWERS = "answers.parquet"
LOGPROBS = "logprobs.parquet"
MIN_AGREEMENT = 0.02
"""Share of equal pairs of answers that voting needs."""


class AnswersError(Exception):
    """A table that strategies cannot be fitted or replayed on; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class RecordedAnswers:
    """An outcome table with coded answers.

    `answers` (prompts, experts): index of the expert's answer among the prompt's distinct ones, -1 for none;
    `signals` (prompts, experts) by name, NaN where unknown; `left_out`: number of prompts without scores.
    """

    table: OutcomeTable
    answers: Ints
    signals: Mapping[str, Floats] = field(default_factory=dict)
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.table)

    @property
    def sizes(self) -> Floats:
        """Active parameters of each expert, in billions."""
        return np.asarray([card.active_params_b for card in self.table.experts], dtype=np.float64)

    @property
    def scores(self) -> Floats:
        """(prompts, experts), NaN where unknown."""
        return self.table.scores.astype(np.float64)

    @property
    def known(self) -> Booleans:
        """The cells with a score."""
        return ~np.isnan(self.table.scores)

    @property
    def means(self) -> Floats:
        """Mean score of each expert over its known cells, (experts,)."""
        return np.asarray(np.nan_to_num(np.nanmean(self.scores, axis=0)), dtype=np.float64)

    def option_scores(self) -> Floats:
        """Score of each distinct answer: the mean over the experts that gave it, 0 for none; (prompts,
        options)."""
        options = int(self.answers.max(initial=-1)) + 1
        found = np.zeros((len(self), options))
        scores = np.nan_to_num(self.scores)
        for option in range(options):
            given = (self.answers == option) & self.known
            found[:, option] = np.where(given, scores, 0).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
        return found

    def reveal(self, state: State, rows: Ints, ask: Ints) -> tuple[Ints, Booleans, Mapping[str, Floats]]:
        """Answers, replies and signals of the calls `ask` (len(rows), k), for `rollout`."""
        at = rows[:, None], np.maximum(ask, 0)
        signals = {name: values[at] for name, values in self.signals.items()}
        return self.answers[at], self.known[at], signals

    def scores_of(self, answer: Ints) -> Floats:
        """The score of the expert `answer` (prompts,) by column; 0 where it is -1: nobody answered."""
        found = self.scores[np.arange(len(self)), np.maximum(answer, 0)]
        return np.where(answer >= 0, np.nan_to_num(found), 0.0)

    def keep_experts(self, names: Sequence[str]) -> "RecordedAnswers":
        """Those of these experts, in this order. Raises OutcomeError when one is missing."""
        table = self.table.keep_experts(names)
        columns = [self.table.expert_names.index(name) for name in names]
        signals = {name: values[:, columns] for name, values in self.signals.items()}
        return RecordedAnswers(table, self.answers[:, columns], signals, self.left_out)

    def take(self, rows: Ints) -> "RecordedAnswers":
        signals = {name: values[rows] for name, values in self.signals.items()}
        return RecordedAnswers(self.table.take(rows), self.answers[rows], signals)


def read_recorded(folder: Path) -> RecordedAnswers:
    """The table in `folder` with its answers. Raises OutcomeError and AnswersError."""
    table = read_outcomes(folder)
    columns = _read(folder / ANSWERS)
    if columns is None:
        raise AnswersError(
            f"{folder / ANSWERS} is missing: strategies compare what experts answered. It needs a column uid "
            "and one per expert with its answer (empty where it gave none), as `coterie score` writes it"
        )
    return recorded(table, columns, str(folder / ANSWERS), _read(folder / LOGPROBS))


def _read(path: Path) -> dict[str, list[Any]] | None:
    """The columns of a file; None when it is missing."""
    import pyarrow
    import pyarrow.parquet

    try:
        found: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    except FileNotFoundError:
        return None
    except (pyarrow.ArrowException, OSError) as error:
        raise AnswersError(f"{path} is not a Parquet file: {error}") from error
    return found


def recorded(
    table: OutcomeTable,
    columns: Mapping[str, list[Any]],
    source: str = ANSWERS,
    logprobs: Mapping[str, list[Any]] | None = None,
) -> RecordedAnswers:
    """`table` with the answers of `columns` and the mean log-probabilities of `logprobs` (uid and one per
    expert), in any order of rows. Raises AnswersError for missing or repeated prompts, missing columns, and
    too little agreement."""
    places = _places(table, columns, source)
    known = ~np.isnan(table.scores)
    scored = np.flatnonzero(known.any(axis=1))
    if not len(scored):
        raise AnswersError("no prompt of the table has a score")
    kept = table.take(scored)
    answers = np.full(kept.scores.shape, -1, dtype=np.int64)
    for row, place in enumerate(places[scored].tolist()):
        number: dict[str, int] = {}
        texts = [_plain(columns[name][place]) for name in table.expert_names]
        answers[row] = [-1 if text is None else number.setdefault(text, len(number)) for text in texts]
    answers = np.where(known[scored], answers, -1)
    if len(table.experts) > 1 and _agreement(answers) < MIN_AGREEMENT:
        raise AnswersError(
            f"{source}: the experts' answers hardly ever agree, so they cannot vote: free text? Give the "
            "final answer alone, such as the letter of a choice or a number"
        )
    signals = {}
    if logprobs is not None:
        at = _places(table, logprobs, LOGPROBS)[scored]
        columns_of = [[logprobs[name][place] for name in table.expert_names] for place in at.tolist()]
        signals["mean"] = np.asarray(columns_of, dtype=np.float64).round(DIGITS)  # None becomes NaN
    return RecordedAnswers(kept, answers, signals, len(table) - len(scored))


def _places(table: OutcomeTable, columns: Mapping[str, list[Any]], source: str) -> Ints:
    """The row of `columns` for each prompt of `table`."""
    missing = [name for name in ("uid", *table.expert_names) if name not in columns]
    if missing:
        raise AnswersError(f"{source}: no column {', '.join(missing)}")
    row_of = {str(uid): row for row, uid in enumerate(columns["uid"])}
    if len(row_of) < len(columns["uid"]):
        raise AnswersError(f"{source}: some uid is there twice: ids must be unique")
    unanswered = [uid for uid in table.uids if uid not in row_of]
    if unanswered:
        raise AnswersError(f"{source}: no row for {unanswered[0]} and {len(unanswered) - 1} more prompts")
    return np.asarray([row_of[uid] for uid in table.uids], dtype=np.int64)


def _plain(answer: Any) -> str | None:
    text = "" if answer is None or answer != answer else str(answer).strip().casefold()
    return text or None


def _agreement(answers: Ints) -> float:
    """Share of equal pairs of given answers."""
    equal = pairs = 0
    for first in range(answers.shape[1]):
        for second in range(first):
            both = (answers[:, first] >= 0) & (answers[:, second] >= 0)
            pairs += int(both.sum())
            equal += int((answers[both, first] == answers[both, second]).sum())
    return equal / pairs if pairs else 0.0
