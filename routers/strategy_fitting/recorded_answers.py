"""Outcome tables with the experts' answers, as strategies compare them.

    answers.parquet   uid, one column per expert with its answer (null or empty for none)
    logprobs.parquet  uid, one column per expert: mean log-probability of the answer's tokens; optional
    details.parquet   as `coterie score` writes it; optional: the score of the very answer, where scores are
                      means over several samples

Answers are final ones (a letter, a number), compared as text, or whole replies, compared as the service
compares them (`routers.strategies.equivalence`). A cell without a score is an expert that could not be asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from base.reply_text import own_text
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Matrix
from routers.strategies.equivalence import answer_classes, comparison_of
from routers.strategies.strategy_policy import DIGITS, Booleans, Floats, Ints, State

ANSWERS = "answers.parquet"
LOGPROBS = "logprobs.parquet"
DETAILS = "details.parquet"
SAMPLE_FIELDS = ("uid", "expert", "score", "text")
CHARACTERS = 24
FINAL_SHARE = 0.9
"""Answers are final ones where this share of them has at most CHARACTERS characters."""
MIN_AGREEMENT = 0.02
"""Share of equal pairs of answers that voting needs."""

Embed = Callable[[Sequence[str]], Matrix]


class AnswersError(Exception):
    """A table that strategies cannot be fitted or replayed on; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class RecordedAnswers:
    """An outcome table with coded answers.

    `answers` (prompts, experts): a number that equal answers of a prompt share, -1 for none; `signals`
    (prompts, experts) by name, NaN where unknown; `left_out`: number of prompts without scores. Of replies to
    open questions, `cosines` (prompts, experts, experts), NaN elsewhere, None when there are none; from
    `likeness` on they say the same (None: not known, all differ that are not equal as text).
    """

    table: OutcomeTable
    answers: Ints
    signals: Mapping[str, Floats] = field(default_factory=dict)
    left_out: int = 0
    cosines: Floats | None = None
    likeness: float | None = None

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
        """Mean score of each expert over its known cells, (experts,); 0 without any."""
        return np.asarray(
            np.nansum(self.scores, axis=0) / np.maximum(self.known.sum(axis=0), 1), dtype=np.float64
        )

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
        return self._classes(state, rows, ask), self.known[at], signals

    def _classes(self, state: State, rows: Ints, ask: Ints) -> Ints:
        """Answers of the calls `ask`. Replies to open questions are compared with the first reply of each
        earlier answer, in the order of asking, as in `answer_classes`; its column is their number."""
        found = self.answers[rows[:, None], np.maximum(ask, 0)]
        if self.cosines is None or self.likeness is None:
            return found
        order, classes = state.order, state.answers
        for call in range(ask.shape[1]):
            column = ask[:, call]
            own = np.maximum(column, 0)
            cosines = self.cosines[rows, own]
            open_ = (column >= 0) & (found[:, call] >= 0) & ~np.isnan(cosines).all(axis=1)
            leads = (order >= 0) & (classes == order)
            alike = np.where(leads, np.take_along_axis(cosines, np.maximum(order, 0), axis=1), -np.inf)
            alike = np.nan_to_num(alike, nan=-np.inf, neginf=-np.inf)
            if alike.shape[1]:
                best = alike.argmax(axis=1)
                every = np.arange(len(rows))
                same = alike[every, best] >= self.likeness
                own = np.where(same, order[every, best], own)
            found[:, call] = np.where(open_, own, found[:, call])
            order = np.concatenate([order, column[:, None]], axis=1)
            classes = np.concatenate([classes, found[:, call : call + 1]], axis=1)
        return found

    def with_likeness(self, likeness: float | None) -> "RecordedAnswers":
        """Replies to open questions compared with this threshold, in the order of the experts."""
        found = replace(self, likeness=likeness)
        if self.cosines is None or likeness is None:
            return found
        rows, experts = np.arange(len(self)), self.answers.shape[1]
        nobody = np.zeros((len(self), 0))
        start = State.begin(nobody, np.zeros((len(self), experts)))
        every = np.tile(np.arange(experts), (len(self), 1))
        return replace(found, answers=found._classes(start, rows, every))

    def scores_of(self, answer: Ints) -> Floats:
        """The score of the expert `answer` (prompts,) by column; 0 where it is -1: nobody answered."""
        found = self.scores[np.arange(len(self)), np.maximum(answer, 0)]
        return np.where(answer >= 0, np.nan_to_num(found), 0.0)

    def keep_experts(self, names: Sequence[str]) -> "RecordedAnswers":
        """Those of these experts, in this order, without the prompts that none of them has a score for.
        Raises OutcomeError when one is missing, and AnswersError when nothing is left."""
        table = self.table.keep_experts(names)
        columns = [self.table.expert_names.index(name) for name in names]
        signals = {name: values[:, columns] for name, values in self.signals.items()}
        cosines = None if self.cosines is None else self.cosines[:, columns][:, :, columns]
        answers = self.answers[:, columns]
        found = replace(self, table=table, answers=answers, signals=signals, cosines=cosines)
        scored = np.flatnonzero(found.known.any(axis=1))
        if not len(scored):
            raise AnswersError(f"no prompt of the table has a score of {', '.join(names)}")
        return replace(found.take(scored), left_out=self.left_out + len(self) - len(scored))

    def complete(self) -> "RecordedAnswers":
        """The prompts that are scored for every expert; the others count as left out."""
        rows = np.flatnonzero(self.known.all(axis=1))
        return replace(self.take(rows), left_out=self.left_out + len(self) - len(rows))

    def take(self, rows: Ints) -> "RecordedAnswers":
        signals = {name: values[rows] for name, values in self.signals.items()}
        cosines = None if self.cosines is None else self.cosines[rows]
        return replace(
            self,
            table=self.table.take(rows),
            answers=self.answers[rows],
            signals=signals,
            left_out=0,
            cosines=cosines,
        )


def read_recorded(folder: Path, embed: Embed | None = None) -> RecordedAnswers:
    """The table in `folder` with its answers. `embed` (texts to unit vectors) compares replies to open
    questions; without it they are all different. Raises OutcomeError and AnswersError."""
    table = read_outcomes(folder)
    columns = _read(folder / ANSWERS)
    if columns is None:
        raise AnswersError(
            f"{folder / ANSWERS} is missing: strategies compare what experts answered. It needs a column uid "
            "and one per expert with its answer (empty where it gave none), as `coterie score` writes it"
        )
    table = _first_samples(table, _read(folder / DETAILS))
    return recorded(table, columns, str(folder / ANSWERS), _read(folder / LOGPROBS), embed)


def _first_samples(table: OutcomeTable, details: Mapping[str, list[Any]] | None) -> OutcomeTable:
    """The table with the scores of the answers that it holds, where `details` has several samples."""
    if details is None or table.samples is None or np.nanmax(table.samples, initial=1) <= 1:
        return table
    scores = table.scores.copy()
    row_of = {uid: row for row, uid in enumerate(table.uids)}
    column_of = {name: column for column, name in enumerate(table.expert_names)}
    if missing := [name for name in SAMPLE_FIELDS if name not in details]:
        raise AnswersError(
            f"{DETAILS}: no column {', '.join(missing)}: scores that are means over samples need "
            "those of the very answers"
        )
    seen = set()
    for uid, expert, score, text in zip(*(details[name] for name in SAMPLE_FIELDS), strict=True):
        if uid not in row_of or expert not in column_of or score is None or not text:
            continue
        cell = row_of[uid], column_of[expert]
        if cell not in seen:
            seen.add(cell)
            scores[cell] = score
    return replace(table, scores=scores)


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
    embed: Embed | None = None,
) -> RecordedAnswers:
    """`table` with the answers of `columns` and the mean log-probabilities of `logprobs` (uid and one per
    expert), in any order of rows; `embed` as for `read_recorded`. Raises AnswersError for missing or repeated
    prompts, missing columns, and too little agreement."""
    places = _places(table, columns, source)
    known = ~np.isnan(table.scores)
    scored = np.flatnonzero(known.any(axis=1))
    if not len(scored):
        raise AnswersError("no prompt of the table has a score")
    kept = table.take(scored)
    texts = [
        [_text(columns[name][place]) for name in table.expert_names] for place in places[scored].tolist()
    ]
    texts = [
        [text if here else None for text, here in zip(row, there, strict=True)]
        for row, there in zip(texts, known[scored].tolist(), strict=True)
    ]
    cosines = None
    if _are_final(texts):
        answers = np.asarray([_equal(row) for row in texts], dtype=np.int64)
    else:
        answers, cosines = _replies(kept.prompts, texts, embed)
    if len(table.experts) > 1 and cosines is None and _agreement(answers) < MIN_AGREEMENT:
        raise AnswersError(
            f"{source}: the experts' answers hardly ever agree, so they cannot vote: ask questions whose "
            "answers can be compared, such as the letter of a choice or a number"
        )
    signals = {}
    if logprobs is not None:
        at = _places(table, logprobs, LOGPROBS)[scored]
        columns_of = [[logprobs[name][place] for name in table.expert_names] for place in at.tolist()]
        signals["mean"] = np.asarray(columns_of, dtype=np.float64).round(DIGITS)  # None becomes NaN
    return RecordedAnswers(kept, answers, signals, len(table) - len(scored), cosines)


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


def _text(answer: Any) -> str | None:
    text = "" if answer is None or answer != answer else str(answer).strip()
    return text or None


def _are_final(texts: Sequence[Sequence[str | None]]) -> bool:
    """Whether these are final answers, not whole replies."""
    lengths = [len(text) for row in texts for text in row if text is not None]
    return not lengths or float(np.quantile(lengths, FINAL_SHARE)) <= CHARACTERS


def _equal(texts: Sequence[str | None]) -> list[int]:
    number: dict[str, int] = {}
    return [-1 if text is None else number.setdefault(text.casefold(), len(number)) for text in texts]


def _replies(
    prompts: Sequence[str], texts: Sequence[Sequence[str | None]], embed: Embed | None
) -> tuple[Ints, Floats | None]:
    """Classes of whole replies, (prompts, experts), and the cosines of those to open questions."""
    answers = np.asarray(
        [answer_classes(row, prompt, _never, None)[0] for prompt, row in zip(prompts, texts, strict=True)],
        dtype=np.int64,
    )
    opened = [row for row, prompt in enumerate(prompts) if comparison_of(prompt, 1.0) == "likeness"]
    if embed is None or not opened:
        return answers, None
    experts = answers.shape[1]
    given = [(row, column) for row in opened for column in range(experts) if answers[row, column] >= 0]
    vectors = embed([own_text(texts[row][column] or "").strip() for row, column in given])
    dimension = vectors.shape[1]
    found = np.full((len(prompts), experts, experts), np.nan)
    of_row: dict[int, list[int]] = {}
    for place, (row, _) in enumerate(given):
        of_row.setdefault(row, []).append(place)
    for row, at in of_row.items():
        whole = np.zeros((experts, dimension), dtype=np.float32)
        columns = [given[place][1] for place in at]
        whole[columns] = vectors[at]
        found[row] = whole @ whole.T
    return answers, found


def _never(texts: Sequence[str]) -> Matrix:
    raise AssertionError("without a threshold nothing is embedded")


def _agreement(answers: Ints) -> float:
    """Share of equal pairs of given answers."""
    equal = pairs = 0
    for first in range(answers.shape[1]):
        for second in range(first):
            both = (answers[:, first] >= 0) & (answers[:, second] >= 0)
            pairs += int(both.sum())
            equal += int((answers[both, first] == answers[both, second]).sum())
    return equal / pairs if pairs else 0.0
