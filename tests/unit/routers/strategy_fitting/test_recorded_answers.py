"""Answers are read beside their outcome table, and refused with what is needed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from routers.outcome_table import OutcomeTable
from routers.request import Matrix
from routers.strategies import State
from routers.strategies.equivalence import answer_classes
from routers.strategy_fitting.likeness_fit import fit_likeness
from routers.strategy_fitting.recorded_answers import AnswersError, RecordedAnswers, read_recorded, recorded
from tests.unit.routers.strategy_fitting.planted import table as planted_table
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


OPEN, CLOSED = "Describe the sea.", "How many legs has a spider?"


def embed(texts: Sequence[str]) -> Matrix:
    """Unit vectors at the angles, in degrees, that the texts begin with."""
    angles = np.radians([float(text.split()[0]) for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def replies(seed: int) -> tuple[RecordedAnswers, list[list[str]]]:
    """Whole replies of four experts to open and closed questions."""
    random = np.random.default_rng(seed)
    texts = [[f"{angle} degrees are what I can see here, and 8 legs" for angle in row]
             for row in random.integers(90, size=(30, 4))]  # fmt: skip
    cards = tuple(card(name) for name in "abcd")
    uids = tuple(f"{row}" for row in range(30))
    prompts = tuple(OPEN if row % 3 else CLOSED for row in range(30))
    scores = random.integers(2, size=(30, 4)).astype(np.float32)
    made = OutcomeTable(uids, ("talk",) * 30, prompts, cards, scores)
    columns = {
        "uid": list(uids),
        **{name: [row[place] for row in texts] for place, name in enumerate("abcd")},
    }
    return recorded(made, {"uid": list(uids), **columns}, embed=embed), texts


@pytest.mark.parametrize("seed", range(4))
def test_replies_are_the_same_answers_as_when_the_service_compares_them_in_the_order_of_asking(
    seed: int,
) -> None:
    data, texts = replies(seed)
    data = data.with_likeness(0.95)
    random = np.random.default_rng(seed)
    order = np.stack([random.permutation(4) for _ in range(30)])
    state, rows = State.begin(np.ones((30, 1)), np.zeros((30, 4))), np.arange(30)
    for call in range(4):
        ask = order[:, call : call + 1]
        state = state.after(ask, *data.reveal(state, rows, ask))

    for row, prompt in enumerate(data.table.prompts):
        asked = [texts[row][column] for column in order[row]]
        classes, how = answer_classes(asked, prompt, embed, 0.95)
        assert how == ("likeness" if prompt == OPEN else "final_answer")
        found = state.answers[row]
        for one, other in product(range(4), repeat=2):
            assert (found[one] == found[other]) == (classes[one] == classes[other])


def test_without_a_threshold_replies_to_open_questions_are_the_same_only_where_they_are_equal() -> None:
    data, texts = replies(0)

    for row in np.flatnonzero([prompt == OPEN for prompt in data.table.prompts]):
        assert len(set(data.answers[row].tolist())) == len(set(texts[row]))


def test_the_threshold_tells_right_replies_from_wrong_ones() -> None:
    random = np.random.default_rng(5)
    scores = random.integers(2, size=(60, 4)).astype(np.float32)
    angles = np.where(scores > 0, 10, 60) + random.integers(8, size=scores.shape)
    cosines = np.cos(np.radians(angles[:, :, None] - angles[:, None, :]))
    cards = tuple(card(name) for name in "abcd")
    uids = tuple(map(str, range(60)))
    made = OutcomeTable(uids, ("talk",) * 60, (OPEN,) * 60, cards, scores)
    told = RecordedAnswers(made, np.tile(np.arange(4), (60, 1)), cosines=cosines)
    shuffled = replace(told, cosines=cosines[random.permutation(60)])

    threshold = fit_likeness(told)

    assert threshold is not None
    assert 0.7 < threshold <= 1.0
    assert fit_likeness(shuffled) is None


def test_prompts_that_only_other_experts_answered_are_left_out() -> None:
    whole = planted_table(40)
    scores = whole.table.scores.copy()
    scores[:10, :3] = np.nan
    partly = replace(whole, table=replace(whole.table, scores=scores))

    kept = partly.keep_experts(("small", "cheap"))

    assert (len(kept), kept.left_out) == (30, 10)
    assert kept.table.expert_names == ("small", "cheap")
    assert np.array_equal(kept.answers, whole.answers[10:, [1, 0]])
    with pytest.raises(AnswersError, match="echo"):
        partly.take(np.arange(10)).keep_experts(("echo",))
