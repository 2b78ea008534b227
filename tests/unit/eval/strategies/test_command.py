"""`coterie strategies replay` refuses what it cannot replay in one sentence."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
from typer.testing import CliRunner

from eval.cli.strategies import app


def run(folder: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["replay", str(folder), "--cache", str(folder / "cache"), *options])
    return done.exit_code, " ".join(done.output.split())


def test_a_table_without_answers_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    prompts = {"uid": ["a"], "category": ["math"], "prompt": ["1 + 1?"]}
    pyarrow.parquet.write_table(pyarrow.table(prompts), tmp_path / "prompts.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"uid": ["a"], "one": [1]}), tmp_path / "scores.parquet")
    (tmp_path / "experts.yaml").write_text("experts:\n- {name: one, params_b: 1}\n")

    code, output = run(tmp_path, "--json", str(tmp_path / "out.json"))

    assert code == 1
    assert "answers.parquet is missing" in output.replace(" -", "-") and "coterie score" in output
    assert not (tmp_path / "out.json").exists()


def test_a_folder_that_is_no_table_is_refused(tmp_path: Path) -> None:
    code, output = run(tmp_path)

    assert code == 1
    assert "prompts.parquet is missing" in output


def test_more_parts_than_folds_are_refused(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--folds", "3", "--parts", "4")

    assert code == 1
    assert "1 to 3" in output
