"""Verdict tables are read generously and refused precisely."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from eval.rating.columns import VerdictError
from eval.rating.table import GradedTable, PairwiseTable, read_verdicts
from tests.unit.eval.rating.making import graded, pairwise

PAIRWISE: dict[str, list[Any]] = {
    "question_id": ["q1", "q2", "q1"],
    "model": ["ours", "ours", "theirs"],
    "baseline": ["base", "base", "base"],
    "win": [1, 0, 6],
    "tie": [0, 2, 0],
    "loss": [1, 0, 0],
}
GRADED: dict[str, list[Any]] = {
    "question_id": [81, 81, 82],
    "model": ["ours", "ours", "ours"],
    "turn": [1, 2, 1],
    "score": [9.0, 7.5, 10.0],
}


def as_parquet(cells: dict[str, list[Any]], folder: Path) -> Path:
    path = folder / "verdicts.parquet"
    pyarrow.parquet.write_table(pyarrow.table(cells), path)
    return path


def as_csv(cells: dict[str, list[Any]], folder: Path) -> Path:
    path = folder / "verdicts.csv"
    rows = zip(*cells.values(), strict=True)
    lines = [",".join(cells), *(",".join("" if each is None else str(each) for each in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


Write = Callable[[dict[str, list[Any]], Path], Path]
WRITERS = pytest.mark.parametrize("write", [as_parquet, as_csv])


@WRITERS
def test_a_pairwise_table_reads_alike_from_both_formats(write: Write, tmp_path: Path) -> None:
    table = read_verdicts(write(PAIRWISE, tmp_path))

    assert isinstance(table, PairwiseTable)
    assert table.players == ("ours", "theirs", "base")
    assert table.win.tolist() == [1, 0, 6]
    assert [table.question.names[each] for each in table.question.codes] == ["q1", "q2", "q1"]


@WRITERS
def test_a_graded_table_reads_alike_from_both_formats(write: Write, tmp_path: Path) -> None:
    table = read_verdicts(write(GRADED, tmp_path))

    assert isinstance(table, GradedTable)
    assert table.question.names == ("81", "82")
    assert table.turn.tolist() == [1, 2, 1]
    assert table.score.tolist() == [9.0, 7.5, 10.0]


def test_headers_may_have_capitals_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    path.write_text("\ufeffQuestion_ID, Model,turn,Score\nq1,ours,1,8\n\n", encoding="utf-8")

    assert len(read_verdicts(path)) == 1


@WRITERS
@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("win", 2, -1, "column win, row 2: .*no count"),
        ("loss", 3, None, "column loss, row 3: .*empty"),
        ("model", 1, "", "column model, row 1: "),
        ("question_id", 3, None, "column question_id, row 3: "),
    ],
)
def test_a_bad_cell_of_a_pairwise_table_is_named(
    write: Write, column: str, row: int, value: Any, message: str, tmp_path: Path
) -> None:
    cells = {name: list(values) for name, values in PAIRWISE.items()}
    cells[column][row - 1] = value

    with pytest.raises(VerdictError, match=message):
        read_verdicts(write(cells, tmp_path))


@WRITERS
@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("score", 2, 11, "column score, row 2: .*outside 1..10"),
        ("score", 1, 0, "column score, row 1: .*outside 1..10"),
        ("turn", 3, 0, "column turn, row 3: .*no turn"),
        ("turn", 1, 1.5, "column turn, row 1: .*no turn"),
    ],
)
def test_a_bad_cell_of_a_graded_table_is_named(
    write: Write, column: str, row: int, value: Any, message: str, tmp_path: Path
) -> None:
    cells = {name: list(values) for name, values in GRADED.items()}
    cells[column][row - 1] = value

    with pytest.raises(VerdictError, match=message):
        read_verdicts(write(cells, tmp_path))


@WRITERS
def test_a_row_without_any_verdict_is_refused(write: Write, tmp_path: Path) -> None:
    cells = PAIRWISE | {"win": [1, 0, 0], "tie": [0, 0, 0], "loss": [1, 0, 1]}

    with pytest.raises(VerdictError, match=r"row 2: .*no verdict"):
        read_verdicts(write(cells, tmp_path))


@pytest.mark.parametrize("missing", PAIRWISE)
def test_a_missing_column_is_named(missing: str, tmp_path: Path) -> None:
    cells = {name: values for name, values in PAIRWISE.items() if name != missing}

    with pytest.raises(VerdictError, match=rf"no column {missing}\. "):
        read_verdicts(as_parquet(cells, tmp_path))


def test_text_where_a_number_belongs_is_named(tmp_path: Path) -> None:
    cells = GRADED | {"score": ["9", "eight", "10"]}

    with pytest.raises(VerdictError, match="column score, row 2: 'eight' is no number"):
        read_verdicts(as_csv(cells, tmp_path))


def test_rows_that_only_their_verdict_tells_apart_are_counted_with_a_note(tmp_path: Path) -> None:
    table = read_verdicts(as_csv(PAIRWISE | {"model": ["ours", "ours", "ours"]}, tmp_path))

    assert len(table) == 3
    assert any("1 rows" in note and "no column" in note for note in table.notes)


def test_rows_that_only_their_verdict_tells_apart_are_refused_when_strict(tmp_path: Path) -> None:
    cells = PAIRWISE | {"model": ["ours", "ours", "ours"]}

    with pytest.raises(VerdictError, match=r"row 3 repeats .*row 1"):
        read_verdicts(as_csv(cells, tmp_path), strict=True)


def test_rows_that_another_column_tells_apart_are_judgments_of_their_own(tmp_path: Path) -> None:
    cells = PAIRWISE | {"model": ["ours", "ours", "ours"], "game": [1, 1, 2]}

    table = read_verdicts(as_csv(cells, tmp_path))

    assert len(table) == 3
    assert any("once more" in note for note in table.notes)


def test_a_column_that_looks_misspelt_is_refused_and_a_strange_one_noted(tmp_path: Path) -> None:
    with pytest.raises(VerdictError, match=r"catgory.* category"):
        read_verdicts(as_csv(PAIRWISE | {"catgory": ["a", "b", "c"]}, tmp_path))

    table = read_verdicts(as_csv(PAIRWISE | {"commit": ["a", "b", "c"]}, tmp_path))

    assert table.ignored == ("commit",)
    with pytest.raises(VerdictError, match="unknown columns commit"):
        read_verdicts(tmp_path / "verdicts.csv", strict=True)


def test_judgments_without_a_score_are_counted_by_model() -> None:
    table = graded([("q1", "ours", 1, 8), ("q2", "ours", 1, -1), ("q3", "ours", 1, None)])

    assert len(table) == 1
    assert table.unscored == {"ours": 2}
    assert "2 of ours" in table.notes[0]


def test_a_table_of_unreadable_judgments_alone_is_refused() -> None:
    with pytest.raises(VerdictError, match="no score at all"):
        graded([("q1", "ours", 1, -1)])


def test_the_prompt_of_a_judge_is_no_other_judge() -> None:
    table = graded(
        [("q1", "ours", 1, 8), ("q1", "ours", 2, 7)],
        judge=['["gpt-4", "single-v1"]', '["gpt-4", "single-v1-multi-turn"]'],
    )

    assert table.judge.names == ("gpt-4",)


def test_verdicts_of_a_model_against_itself_are_left_out_and_said_to_be() -> None:
    table = pairwise([("q1", "base", "base", 1, 0, 1), ("q1", "ours", "base", 1, 0, 1)])

    assert len(table) == 1
    assert "against itself" in table.notes[0]


def test_style_needs_both_sides(tmp_path: Path) -> None:
    with pytest.raises(VerdictError, match="has length but not baseline_length"):
        read_verdicts(as_csv(PAIRWISE | {"length": [10, 20, 30]}, tmp_path))


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"question_id,model\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    path.write_bytes(content)

    with pytest.raises(VerdictError, match="verdicts"):
        read_verdicts(path)


def test_a_row_with_a_cell_too_many_is_named(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    path.write_text("question_id,model,turn,score\nq1,ours,1,8\nq2,ours,1,8,9\n", encoding="utf-8")

    with pytest.raises(VerdictError, match=r"row 2 .*5 .*4"):
        read_verdicts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerdictError, match=r"nowhere\.csv is missing"):
        read_verdicts(tmp_path / "nowhere.csv")
