"""Arena-Hard's data in both versions' forms, and whom each question is compared with."""

import json
from pathlib import Path

import pytest

from eval.protocols.arena_hard_questions import OWN, OWN_BASELINE, ArenaHardError, load_questions

V01 = {"question_id": "q1", "category": "arena-hard-v0.1", "cluster": "ABC", "turns": [{"content": "Hard?"}]}
V2 = [
    {"uid": "u1", "category": "hard_prompt", "subcategory": "coding", "prompt": "Code!"},
    {"uid": "u2", "category": "creative_writing", "subcategory": "creative_writing", "prompt": "Sing!"},
]


def write(folder: Path, *rows: object) -> Path:
    (folder / "question.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_our_own_set_comes_with_its_baselines_answers() -> None:
    data = load_questions(OWN, "arena-hard")

    assert data.answers is not None
    assert len(data.questions) == 10
    assert set(data.baselines.values()) == {OWN_BASELINE}
    assert all(data.answers.answers.get((OWN_BASELINE, question.id)) for question in data.questions)


def test_v01_is_compared_with_gpt_4_0314(tmp_path: Path) -> None:
    data = load_questions(write(tmp_path, V01), "arena-hard")

    assert [(q.id, q.turns, q.temperature) for q in data.questions] == [("q1", ("Hard?",), 0.0)]
    assert data.baselines == {"q1": "gpt-4-0314"}
    assert data.answers is None


def test_v2_has_a_baseline_for_each_category(tmp_path: Path) -> None:
    data = load_questions(write(tmp_path, *V2), "arena-hard-v2")

    assert data.baselines == {"u1": "o3-mini-2025-01-31", "u2": "gemini-2.0-flash-001"}
    assert [question.category for question in data.questions] == ["hard_prompt", "creative_writing"]


def test_answers_beside_the_questions_are_read(tmp_path: Path) -> None:
    write(tmp_path, V01)
    (tmp_path / "model_answer").mkdir()
    row = {"question_id": "q1", "model": "gpt-4-0314", "answer": "So."}
    (tmp_path / "model_answer" / "gpt-4-0314.jsonl").write_text(json.dumps(row))

    data = load_questions(tmp_path, "arena-hard")

    assert data.answers is not None
    assert data.answers.answers.get(("gpt-4-0314", "q1")) == ("So.",)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "holds no questions"),
        ([{}], "question.jsonl:1: needs question_id or uid"),
        ([{**V2[0], "prompt": " "}], "the prompt is empty"),
        ([V01, V01], "question.jsonl:2: the question q1 occurs twice"),
    ],
)
def test_what_is_no_question_set_says_why(tmp_path: Path, rows: list[object], says: str) -> None:
    with pytest.raises(ArenaHardError, match=says):
        load_questions(write(tmp_path, *rows), "arena-hard")
