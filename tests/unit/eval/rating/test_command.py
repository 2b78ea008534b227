"""`coterie eval rate`."""

import json
from pathlib import Path

from typer.testing import CliRunner

from eval.cli.evaluate import app

PAIRWISE = (
    "question_id,model,baseline,win,tie,loss\nq1,ours,base,3,0,1\nq2,ours,base,1,2,1\nq1,[x],base,0,0,2\n"
)
GRADED = "question_id,model,turn,score,category\n81,ours,1,9,math\n81,ours,2,-1,math\n82,ours,1,8,writing\n"


def run(content: str, folder: Path, *options: str) -> tuple[int, str, Path]:
    verdicts, ratings = folder / "verdicts.csv", folder / "ratings" / "ratings.json"
    verdicts.write_text(content, encoding="utf-8")
    done = CliRunner().invoke(
        app, ["rate", str(verdicts), "--json", str(ratings), "--rounds", "50", *options]
    )
    return done.exit_code, " ".join(done.output.split()), ratings


def test_pairwise_verdicts_are_printed_and_written(tmp_path: Path) -> None:
    code, output, path = run(PAIRWISE, tmp_path, "--details")
    found = json.loads(path.read_text())

    assert code == 0
    assert "62.50" in output and "[x]" in output
    assert (found["kind"], found["baseline"], found["n_questions"], found["n_verdicts"]) == (
        "pairwise",
        "base",
        2,
        3,
    )
    assert [each["model"] for each in found["models"]] == ["ours", "base", "[x]"]
    assert found["settings"]["bootstrap_rounds"] == 50
    assert not path.with_name("ratings.json.partial").exists()


def test_graded_answers_are_printed_and_written(tmp_path: Path) -> None:
    code, output, path = run(GRADED, tmp_path, "--details")
    found = json.loads(path.read_text())

    assert code == 0
    assert "8.50" in output and "1 of ours" in output and "writing" in output
    assert found["kind"] == "graded"
    assert found["models"][0]["turns"]["1"]["score"] == 8.5


def test_a_bad_table_is_an_error_of_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    code, output, path = run(PAIRWISE.replace("3,0,1", "three,0,1"), tmp_path)

    assert code == 1
    assert "column win, row 1: 'three' is no number" in output
    assert not path.exists()


def test_an_impossible_setting_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    code, output, _ = run(PAIRWISE, tmp_path, "--confidence", "95")

    assert code == 1
    assert "such as 0.95" in output


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (run(PAIRWISE, tmp_path, "--seed", "3")[2].read_bytes() for _ in range(2))

    assert first == second
