"""Secrets come from the environment or a file, and stay out of every text."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from experts.credentials import read_api_key, redact
from experts.errors import ExpertUnavailable
from experts.expert import Expert


def expert(**fields: Any) -> Expert:
    defaults = {"name": "a", "endpoint": "http://h/v1", "model": "m", "params_b": 1, "context_length": 8}
    return Expert.model_validate(defaults | fields)


def test_a_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_TEST_KEY", " abc ")
    key = read_api_key(expert(api_key_env="COTERIE_TEST_KEY"))
    assert key is not None
    assert key.get_secret_value() == "abc"
    assert "abc" not in f"{key} {key!r}"


def test_a_rotated_key_file_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "key"
    guarded = expert(api_key_file=str(file))
    for value in ("first\n", "second\n"):
        file.write_text(value)
        key = read_api_key(guarded)
        assert key is not None
        assert key.get_secret_value() == value.strip()


def test_an_expert_without_a_key_needs_none() -> None:
    assert read_api_key(expert()) is None


@pytest.mark.parametrize("content", ["", "  \n", "two\nlines", "umläut"])
def test_an_unusable_key_is_told_without_its_text(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ExpertUnavailable, match="file key") as caught:
        read_api_key(expert(api_key_file=str(file)))
    assert "lines" not in str(caught.value)


def test_a_missing_file_or_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COTERIE_TEST_KEY", raising=False)
    with pytest.raises(ExpertUnavailable, match="COTERIE_TEST_KEY"):
        read_api_key(expert(api_key_env="COTERIE_TEST_KEY"))
    with pytest.raises(ExpertUnavailable, match="nowhere"):
        read_api_key(expert(api_key_file=str(tmp_path / "nowhere")))


def test_texts_are_redacted_of_known_and_likely_secrets() -> None:
    text = "key k-17 in Authorization: Bearer abcdef12345, also sk-proj-abcdefgh123 and hf_abcdefgh123"
    clean = redact(text, [SecretStr("k-17"), None])
    assert clean == "key [secret] in Authorization: [secret], also [secret] and [secret]"


def test_ordinary_words_are_left_alone() -> None:
    text = "The task-force asked for pk and sk- columns; a bearer of news."
    assert redact(text) == text
