"""Answers from files in every form that the benchmarks write."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from eval.engine.answer_files import AnswerFileError, merged, read_answers

FLAT = {"question_id": "q1", "model": "a", "answer": "yes"}
FORMS = {
    "flat": FLAT,
    "fastchat": {"question_id": "q1", "model_id": "a", "choices": [{"index": 0, "turns": ["yes"]}]},
    "arena-hard v0.1": {"question_id": "q1", "model_id": "a", "choices": [{"turns": [{"content": "yes"}]}]},
    "arena-hard v2.0": {
        "uid": "q1",
        "model": "a",
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": {"answer": "yes"}},
        ],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(FORMS[form]) + "\n")

    answers = read_answers(path)

    assert answers.answers.get(("a", "q1")) == ("yes",)
    assert answers.answers.get(("a", "q2")) is answers.answers.get(("b", "q1")) is None
    assert answers.models == ("a",)


def test_parquet_and_folders_are_read(tmp_path: Path) -> None:
    table = pyarrow.table({"question_id": [1, 2], "model": ["b", "b"], "answer": ["x", "y"]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(FLAT))

    answers = read_answers(tmp_path)

    assert answers.models == ("a", "b")
    assert answers.answers.get(("b", "2")) == ("y",)


def test_a_second_answer_to_the_same_question_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, [FLAT, {**FLAT, "answer": "no"}])))

    with pytest.raises(AnswerFileError, match=r"answers\.jsonl:2: a .*q1"):
        read_answers(path)


@pytest.mark.parametrize(
    "row", [{}, {"question_id": "q1", "answer": "x"}, {**FLAT, "answer": None}, {"messages": []}]
)
def test_a_row_that_is_no_answer_is_named(tmp_path: Path, row: dict[str, object]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(row))

    with pytest.raises(AnswerFileError, match=r"answers\.jsonl:1: needs question_id"):
        read_answers(path)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_missing_file_is_not_taken_for_a_damaged_one(tmp_path: Path, ending: str) -> None:
    with pytest.raises(AnswerFileError, match=rf"none\.{ending}: cannot be read"):
        read_answers(tmp_path / f"none.{ending}")


def test_of_two_sources_the_first_counts(tmp_path: Path) -> None:
    for name, answer in (("one", "mine"), ("two", "theirs")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**FLAT, "answer": answer}))

    both = merged(read_answers(tmp_path / "one.jsonl"), read_answers(tmp_path / "two.jsonl"))

    assert both.answers.get(("a", "q1")) == ("mine",)
