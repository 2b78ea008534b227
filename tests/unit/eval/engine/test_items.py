"""Items of a run, one line each, through kills and repetitions."""

from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from eval.engine.items import ItemLog, ItemsError, ItemTurn, RunItem, read_items, write_verdicts


def item(question: str, score: float | None = 1.0, **others: object) -> RunItem:
    return RunItem.model_validate(
        {"question": question, "category": "math", "contestant": "a", "score": score, **others}
    )


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    turn = ItemTurn(prompt="2 + 2?", answer="4", routing={"expert": "small", "reason": "matched"})
    whole = item("q1", turns=(turn,), values={"turn_1": 7.0}, unparsed=1)

    with ItemLog(tmp_path / "items.jsonl") as log:
        log.add(whole)

    assert read_items(tmp_path / "items.jsonl") == (whole,)
    assert whole.experts == ("small",)


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    with ItemLog(tmp_path / "items.jsonl") as log:
        log.add(item("q1", None, error="timeout"))
        log.add(item("q2"))
        log.add(item("q1", 0.5))

    assert [(each.question, each.score) for each in read_items(tmp_path / "items.jsonl")] == [
        ("q1", 0.5),
        ("q2", 1.0),
    ]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with ItemLog(path) as log:
        log.add(item("q1"))
    with path.open("ab") as file:
        file.write(b'{"question": "q2", "cat')

    assert [each.question for each in read_items(path)] == ["q1"]
    with ItemLog(path) as log:
        log.add(item("q3"))
    assert [each.question for each in read_items(path)] == ["q1", "q3"]


def test_a_line_that_is_no_item_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"question": "q1"}\n')

    with pytest.raises(ItemsError, match=r"items\.jsonl:1"):
        read_items(path)


def test_verdicts_become_one_table(tmp_path: Path) -> None:
    rows = ({"question_id": "q1", "model": "a", "turn": 1, "score": None, "judge": "j"},)
    items = [
        item("q1", verdicts=rows),
        item("q2", verdicts=({**rows[0], "question_id": "q2", "score": 8.0},)),
    ]

    assert write_verdicts(items, tmp_path / "verdicts.parquet") == 2
    assert parquet.read_table(tmp_path / "verdicts.parquet")["score"].to_pylist() == [None, 8.0]
    assert write_verdicts([item("q1")], tmp_path / "verdicts.parquet") == 0
    assert not (tmp_path / "verdicts.parquet").exists()
