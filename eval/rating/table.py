"""Verdict tables (Parquet or CSV, one verdict per row):

    pairwise   question_id, model, baseline, win, tie, loss
    graded     question_id, model, turn, score            (score 1..10)

Both may have `category` and `judge`, pairwise ones also style columns (`eval.rating.style`); other columns
are ignored with a note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.rating.columns import Columns, VerdictError, read_columns
from eval.rating.resampling import Floats, Ints

PAIRWISE = ("question_id", "model", "baseline", "win", "tie", "loss")
GRADED = ("question_id", "model", "turn", "score")
OPTIONAL = ("category", "judge")
STYLES: Mapping[str, tuple[str, ...]] = {
    "length": ("length", "token_len", "tokens", "chars"),
    "headers": ("headers", "header_count"),
    "lists": ("lists", "list_count"),
    "bold": ("bold", "bold_count"),
}
"""Column names of style features; with the prefix `baseline_` for the baseline's, optionally `model_` for the
model's."""

LOWEST, HIGHEST = 1.0, 10.0
SHOWN = 12
"""Maximum number of column names in an error."""
UNPARSED = -1.0
"""FastChat's score of a judgment that it could not parse."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of names as codes; -1 for none."""

    names: tuple[str, ...]
    codes: Ints

    def take(self, rows: Ints) -> "Coded":
        """These rows, with the remaining names."""
        return code([self.names[each] if each >= 0 else None for each in self.codes[rows]])


@dataclass(frozen=True, slots=True)
class PairwiseTable:
    """Pairwise verdicts; columns have shape (rows,). `players`: names of models and baselines; `styles`: the
    model's and the baseline's values by feature (NaN if unknown)."""

    question: Coded
    players: tuple[str, ...]
    model: Ints
    baseline: Ints
    win: Floats
    tie: Floats
    loss: Floats
    judge: Coded
    category: Coded
    styles: Mapping[str, tuple[Floats, Floats]]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.model)


@dataclass(frozen=True, slots=True)
class GradedTable:
    """Scores 1..10; columns have shape (rows,). `unscored`: number of judgments without a score by model,
    which are not among the rows."""

    question: Coded
    model: Coded
    turn: Ints
    score: Floats
    judge: Coded
    category: Coded
    unscored: Mapping[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.score)


def code(values: Sequence[str | None]) -> Coded:
    """Names coded in order of first occurrence; None is -1."""
    number: dict[str, int] = {}
    codes = [-1 if value is None else number.setdefault(value, len(number)) for value in values]
    return Coded(tuple(number), np.asarray(codes, dtype=np.int64))


def read_verdicts(path: Path, *, strict: bool = False) -> PairwiseTable | GradedTable:
    """The verdicts of a Parquet or CSV file; with `strict`, unused columns and indistinguishable repeats are
    errors instead of notes. Raises VerdictError."""
    return check_verdicts(read_columns(path), strict=strict)


def check_verdicts(columns: Columns, *, strict: bool = False) -> PairwiseTable | GradedTable:
    """The verdicts of `columns`. Raises VerdictError."""
    names = set(columns.names)
    pairwise = set(PAIRWISE) <= names
    graded = set(GRADED) <= names
    if not pairwise and not graded:
        raise VerdictError(_missing(columns))
    if pairwise and graded:
        raise columns.error("has both a turn and a baseline: is it pairwise or graded? Leave one out")
    known = {*(PAIRWISE if pairwise else GRADED), *OPTIONAL, *(_style_names() if pairwise else ())}
    ignored = columns.unknown(known, strict=strict)
    if not len(columns):
        raise columns.error("holds no verdicts")
    return (_pairwise if pairwise else _graded)(columns, ignored, strict)


def _pairwise(columns: Columns, ignored: tuple[str, ...], strict: bool) -> PairwiseTable:
    models = columns.texts("model")
    baselines = columns.texts("baseline")
    counts = [columns.numbers(name) for name in ("win", "tie", "loss")]
    for name, values in zip(("win", "tie", "loss"), counts, strict=True):
        columns.refuse(name, ~(values >= 0), "is no count: it must be 0 or more")
    columns.refuse(
        "win", counts[0] + counts[1] + counts[2] == 0, "and `tie` and `loss` are 0: this row is no verdict"
    )
    key = ("question_id", "model", "baseline", "judge")
    notes = _notes(ignored, *columns.repeats(("win", "tie", "loss"), key, strict=strict))
    themselves = [model == baseline for model, baseline in zip(models, baselines, strict=True)]
    if any(themselves):
        notes.append(f"{sum(themselves)} verdicts of a model against itself left out: they rate nothing")
        columns = columns.take([row for row, self_play in enumerate(themselves) if not self_play])
        if not len(columns):
            raise columns.error("holds only verdicts of models against themselves")
    models, baselines = columns.texts("model"), columns.texts("baseline")
    both = code([*models, *baselines])
    return PairwiseTable(
        question=code(columns.texts("question_id")),
        players=both.names,
        model=both.codes[: len(models)],
        baseline=both.codes[len(models) :],
        win=columns.numbers("win"),
        tie=columns.numbers("tie"),
        loss=columns.numbers("loss"),
        judge=code([judge_name(each) for each in columns.optional_texts("judge")]),
        category=code(columns.optional_texts("category")),
        styles=_styles(columns),
        ignored=ignored,
        notes=tuple(notes),
    )


def _graded(columns: Columns, ignored: tuple[str, ...], strict: bool) -> GradedTable:
    models = columns.texts("model")
    turns = columns.numbers("turn")
    columns.refuse("turn", ~((turns >= 1) & (turns == np.floor(turns))), "is no turn: they count from 1")
    scores = columns.numbers("score", empty=True)
    unparsed = np.isnan(scores) | (scores == UNPARSED)
    columns.refuse(
        "score",
        ~unparsed & ~((scores >= LOWEST) & (scores <= HIGHEST)),
        "is outside 1..10 (-1 or nothing stands for a judgment without a score)",
    )
    key = ("question_id", "model", "turn", "judge")
    notes = _notes(ignored, *columns.repeats(("score",), key, strict=strict))
    unscored: dict[str, int] = {}
    for row in np.flatnonzero(unparsed):
        unscored[models[row]] = unscored.get(models[row], 0) + 1
    if unscored:
        notes.append(
            "left out, without a score: "
            + ", ".join(f"{count} of {name}" for name, count in unscored.items())
        )
    rows = np.flatnonzero(~unparsed)
    if not len(rows):
        raise columns.error("holds no score at all: every judgment is without one")
    kept = columns.take(rows.tolist())
    return GradedTable(
        question=code(kept.texts("question_id")),
        model=code(kept.texts("model")),
        turn=turns[rows].astype(np.int64),
        score=scores[rows],
        judge=code([judge_name(each) for each in kept.optional_texts("judge")]),
        category=code(kept.optional_texts("category")),
        unscored=unscored,
        ignored=ignored,
        notes=tuple(notes),
    )


def judge_name(text: str | None) -> str | None:
    """The judge's model; FastChat writes model and prompt, `["gpt-4", "single-v1"]`."""
    import json

    if text is None or not text.startswith("["):
        return text
    try:
        parts = json.loads(text)
    except ValueError:
        return text
    return parts[0] if parts and isinstance(parts[0], str) else text


def _styles(columns: Columns) -> dict[str, tuple[Floats, Floats]]:
    found: dict[str, tuple[Floats, Floats]] = {}
    for feature, names in STYLES.items():
        for name in names:
            ours = next((each for each in (name, f"model_{name}") if each in columns.names), None)
            theirs = f"baseline_{name}"
            if (ours is not None) != (theirs in columns.names):
                raise columns.error(
                    f"has {ours or theirs} but not {theirs if ours else name}: style needs both"
                )
            if ours is None:
                continue
            pair = columns.numbers(ours, empty=True), columns.numbers(theirs, empty=True)
            for column, values in zip((ours, theirs), pair, strict=True):
                columns.refuse(column, values < 0, "is no count: it must be 0 or more")
            found[feature] = pair
            break
    return found


def _style_names() -> set[str]:
    plain = {name for names in STYLES.values() for name in names}
    return plain | {f"{side}_{name}" for side in ("model", "baseline") for name in plain}


def _notes(ignored: Sequence[str], repeated: int, alike: int) -> list[str]:
    notes = [f"columns not used: {', '.join(ignored)}"] if ignored else []
    if repeated > alike:
        notes.append(
            f"{repeated - alike} rows judge a question of a model once more, told apart by other columns: "
            "all are counted"
        )
    if alike:
        notes.append(
            f"{alike} rows judge a question of a model once more, and no column tells them apart: all are "
            "counted, as further judgments (--strict refuses them)"
        )
    return notes


def _missing(columns: Columns) -> str:
    names = set(columns.names)
    lacking = {
        kind: [name for name in wanted if name not in names]
        for kind, wanted in (("pairwise", PAIRWISE), ("graded", GRADED))
    }
    # The form with fewer missing columns.
    kind = min(lacking, key=lambda each: len(lacking[each]))
    shown = ", ".join(columns.names[:SHOWN]) or "none"
    if len(columns.names) > SHOWN:
        shown += f" and {len(columns.names) - SHOWN} more"
    return (
        f"{columns.source}: no column {', '.join(lacking[kind])}. A verdict table has {', '.join(PAIRWISE)} "
        f"(pairwise) or {', '.join(GRADED)} (graded); this one has {shown}"
    )
