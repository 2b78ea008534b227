"""Hyperparameters of a build: every mistake is told, by its line or option."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.build_config import read_build_config
from experts.expert import Expert
from prompts.mixture.hyperparameters import BuildConfig


def expert(**fields: Any) -> Expert:
    facts = {"name": "llm", "model": "m", "endpoint": "http://127.0.0.1:1/v1", "params_b": 1}
    return Expert.model_validate({**facts, "context_length": 4096, **fields})


def read(folder: Path, text: str, **given: Any) -> BuildConfig:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return read_build_config(file, given, expert())


def test_what_the_expert_takes_is_under_what_is_said(tmp_path: Path) -> None:
    assert read_build_config(None, {}, expert(max_in_flight=3)).concurrency == 3
    config = read(tmp_path, "context_tokens: 512\ncandidates: 3\n", candidates=4)
    assert (config.context_tokens, config.candidates, config.concurrency) == (512, 4, 64)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).candidates == BuildConfig().candidates


@pytest.mark.parametrize(
    ("text", "given", "complaint"),
    [
        ("seed: 1\ncandidtes: 3\n", {}, "config.yaml:2: candidtes: "),
        ("zzz: 3\n", {}, "config.yaml:1: zzz: "),
        ("7: 3\n", {}, "config.yaml:1: 7: unknown field"),
        ("demo_counts: 4\n", {}, "config.yaml:1: demo_counts: "),
        ("\ndemo_counts: [4, x]\n", {}, "config.yaml:2: demo_counts.1: "),
        ("seed: 1\nseed: 2\n", {}, "config.yaml:2: seed: written twice"),
        ("- seed\n", {}, "must be a mapping of hyperparameters"),
        ("seed: [\n", {}, "config.yaml:2: "),
        ("min_regions: 20\n", {}, "min_regions is more than max_regions"),
        ("seed: 1\n", {"metric": "fuzzy"}, "--metric: should be 'exact', "),
        ("metric: exact\n", {"max_calls": 0}, "--max-calls: "),
    ],
)
def test_a_mistake_is_told_by_its_line_or_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, given: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises(typer.Exit):
        read(tmp_path, text, **given)
    assert complaint in capsys.readouterr().err


def test_all_mistakes_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        read(tmp_path, "seed: -1\ncandidates: many\n", layout="table")
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_an_experts_own_context_is_told_as_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        read_build_config(None, {}, expert(context_length=10))
    assert "expert llm: context_length: " in capsys.readouterr().err
