"""Answers are read beside their outcome table, and refused with what is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from routers.outcome_table import OutcomeTable
from routers.strategy_fitting.recorded_answers import AnswersError, read_recorded, recorded
from tests.unit.routers.world import card

CARDS = (card("one", 1.0), card("two", 2.0))


def table(scores: list[list[float]]) -> OutcomeTable:
    uids = tuple(f"p{row}" for row in range(len(scores)))
    return OutcomeTable(
        uids,
        ("math",) * len(uids),
        tuple(f"prompt {uid}" for uid in uids),
        CARDS,
        np.asarray(scores, np.float32),
    )


def write(folder: Path, answers: dict[str, list[Any]] | None) -> Path:
    pyarrow.parquet.write_table(
        pyarrow.table({"uid": ["a", "b"], "category": ["math", "math"], "prompt": ["one?", "two?"]}),
        folder / "prompts.parquet",
    )
    pyarrow.parquet.write_table(
        pyarrow.table({"uid": ["a", "b"], "one": [1, 0], "two": [1, 1]}), folder / "scores.parquet"
    )
    (folder / "experts.yaml").write_text("experts:\n- {name: one, params_b: 1}\n- {name: two, params_b: 2}\n")
    if answers is not None:
        pyarrow.parquet.write_table(pyarrow.table(answers), folder / "answers.parquet")
    return folder


def test_answers_that_differ_in_case_and_space_only_are_one() -> None:
    data = recorded(table([[1, 1], [0, 1]]), {"uid": ["p1", "p0"], "one": ["B", " a"], "two": ["c", "A "]})

    assert data.answers.tolist() == [[0, 0], [0, 1]]
    assert data.option_scores().tolist() == [[1, 0], [0, 1]]


def test_an_empty_answer_is_no_vote() -> None:
    data = recorded(
        table([[0, 1], [0, 1], [1, 1]]),
        {"uid": ["p0", "p1", "p2"], "one": [None, " ", "b"], "two": ["a", "a", "b"]},
    )

    assert data.answers[:, 0].tolist() == [-1, -1, 0]


def test_prompts_that_nobody_was_scored_on_are_left_out_and_counted() -> None:
    nan = float("nan")
    data = recorded(
        table([[1, 1], [nan, 1], [nan, nan]]),
        {"uid": ["p0", "p1", "p2"], "one": ["a", "b", "b"], "two": ["a", "b", "b"]},
    )

    assert (len(data), data.left_out) == (2, 1)
    assert data.answers.tolist() == [[0, 0], [-1, 0]], "who has no score was not asked"


def test_a_table_without_answers_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(AnswersError, match=r"answers\.parquet"):
        read_recorded(write(tmp_path, None))


def test_a_table_with_answers_is_read(tmp_path: Path) -> None:
    data = read_recorded(write(tmp_path, {"uid": ["b", "a"], "one": ["C", "A"], "two": ["D", "A"]}))

    assert data.answers.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"uid": ["a", "b"], "one": ["A", "B"]}, "no column two"),
        ({"uid": ["a"], "one": ["A"], "two": ["A"]}, "no row for b"),
        ({"uid": ["a", "a", "b"], "one": ["A"] * 3, "two": ["A"] * 3}, "there twice"),
        ({"uid": ["a", "b"], "one": ["Yes, as", "Well"], "two": ["I think", "No"]}, "hardly ever agree"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(
    answers: dict[str, list[Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(AnswersError, match=message):
        read_recorded(write(tmp_path, answers))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    write(tmp_path, None)
    (tmp_path / "answers.parquet").write_text("uid,one,two\n")

    with pytest.raises(AnswersError, match="Parquet"):
        read_recorded(tmp_path)
