"""MT-Bench's data: our own set in its form, its temperatures, and what is refused."""

import json
from pathlib import Path

import pytest

from eval.protocols.mt_bench_questions import NEED_REFERENCE, OWN, TEMPERATURES, MtBenchError, load_questions

LINE = {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]}


def test_our_own_set_has_two_questions_a_category_and_references_where_judges_see_them() -> None:
    data = load_questions(OWN)

    assert {c: sum(q.category == c for q in data.questions) for c in TEMPERATURES} == dict.fromkeys(
        TEMPERATURES, 2
    )
    assert all(len(question.turns) == 2 for question in data.questions)
    wanted = {question.id for question in data.questions if question.category in NEED_REFERENCE}
    assert set(data.references) == wanted
    assert all(len(answers) == 2 for answers in data.references.values())
    assert set(data.digests) == {"questions", "references reference_answer.jsonl"}


def test_each_category_is_asked_at_its_temperature() -> None:
    temperatures = {question.category: question.temperature for question in load_questions(OWN).questions}

    assert temperatures == {
        "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
        "stem": 0.1, "humanities": 0.1,
    }  # fmt: skip


def test_first_turns_alone_can_be_asked() -> None:
    assert {len(question.turns) for question in load_questions(OWN, turns=1).questions} == {1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no questions"),
        ("[]", r"question\.jsonl:1: must be an object"),
        ("{", r"question\.jsonl:1: is not JSON"),
        (json.dumps({"question_id": 1, "turns": ["a"]}), "needs question_id, category and turns"),
        ("\n".join([json.dumps(LINE)] * 2), "occurs twice"),
    ],
)
def test_what_is_no_question_set_says_why(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "question.jsonl").write_text(text)

    with pytest.raises(MtBenchError, match=says):
        load_questions(tmp_path)


def test_a_folder_without_questions_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(MtBenchError, match=r"--data .*question\.jsonl"):
        load_questions(tmp_path)


def test_references_of_either_layout_are_read(tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").write_text(json.dumps(LINE))
    (tmp_path / "reference_answer").mkdir()
    row = {"question_id": 81, "choices": [{"turns": ["one", "two"]}]}
    (tmp_path / "reference_answer" / "gpt-4.jsonl").write_text(json.dumps(row))

    assert load_questions(tmp_path).references == {"81": ("one", "two")}
