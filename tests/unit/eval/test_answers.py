"""Answers that were kept are found again, whatever ended the run that got them."""

from pathlib import Path

import pytest

from client import ExpertInfo, PriceInfo
from eval.answers import Answer, AnswerStore, StoreError, answer_key
from eval.service import expert_identity


def answer(key: str, text: str = "four") -> Answer:
    return Answer(key=key, expert="small", text=text, completion_tokens=2, latency_s=0.5)


def test_an_answer_is_found_by_a_later_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    with AnswerStore(path) as store:
        store.add(answer("k1", "eins\nzwei\u2028drei"))

    with AnswerStore(path) as store:
        assert store.get("k1") == answer("k1", "eins\nzwei\u2028drei")
        assert store.get("k2") is None
        assert len(store) == 1


def test_an_answer_is_on_disk_as_soon_as_it_was_added(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path) as store:
        store.add(answer("k1"))
        assert path.read_bytes().endswith(b"\n")


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path) as store:
        store.add(answer("k1"))
    with path.open("ab") as file:
        file.write(b'{"key": "k2", "exp')

    with AnswerStore(path) as store:
        assert len(store) == 1
        store.add(answer("k3"))
    with AnswerStore(path) as store:
        assert store.get("k3") == answer("k3")
        assert len(store) == 2


def test_a_damaged_line_in_the_middle_is_an_error_that_says_which(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("{}\n")

    with pytest.raises(StoreError, match=r"answers\.jsonl:1: is no answer"), AnswerStore(path):
        pass


def test_two_runs_cannot_write_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path), pytest.raises(StoreError, match="another run"), AnswerStore(path):
        pass

    with AnswerStore(path):
        pass


MESSAGES = [{"role": "user", "content": "2 + 2?"}]
SAMPLING = {"temperature": 0.0, "max_tokens": 8}
FACTS = ExpertInfo(name="small", params_b=0.135)


def test_the_key_depends_on_expert_messages_and_sampling_and_on_nothing_else() -> None:
    key = answer_key(expert_identity(FACTS), MESSAGES, SAMPLING)
    priced = FACTS.model_copy(update={"price": PriceInfo(input=1.0)})
    described = FACTS.model_copy(update={"description": "another prompt now"})

    assert answer_key(expert_identity(priced), list(MESSAGES), dict(reversed(SAMPLING.items()))) == key
    others = {
        answer_key(expert_identity(described), MESSAGES, SAMPLING),
        answer_key(expert_identity(FACTS), [{"role": "user", "content": "2 + 3?"}], SAMPLING),
        answer_key(expert_identity(FACTS), MESSAGES, {**SAMPLING, "max_tokens": 9}),
    }
    assert len(others | {key}) == 4
