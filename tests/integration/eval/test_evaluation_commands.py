"""`coterie eval run|judge|list|show|compare|resume` from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from eval.cli.evaluate import app
from tests.integration.eval.evaluation_world import World, serving, verdict_of

LINE = {"id": "sum", "category": "math", "prompt": "2 + 2?", "check": {"kind": "number", "value": 4}}


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def places(world: World, folder: Path) -> list[object]:
    return ["--api", world.api, "--cache", folder / "answers.sqlite", "--runs", folder / "runs"]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({**LINE, "id": f"sum-{n}"}) + "\n" for n in range(3)))
    return path


def test_a_run_can_be_listed_shown_compared_and_gone_on_with(tmp_path: Path, suite: Path) -> None:
    runs = ["--runs", tmp_path / "runs"]
    with serving(lambda body: "4" if body["model"] == "large" else "5") as world:
        ran = command("run", suite, "--against", "coterie,large", *places(world, tmp_path))
        asked = len(world.bodies)
        resumed = command("resume", "last", *runs)
        assert len(world.bodies) == asked

    assert (ran.exit_code, resumed.exit_code) == (0, 0), ran.output + resumed.output
    assert "sums, 3 questions" in ran.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert {each.name for each in folder.iterdir()} >= {
        "manifest.json", "items.jsonl", "results.json", "report.html", "logs",
    }  # fmt: skip
    assert "complete" in command("list", *runs).stdout
    shown = json.loads(command("show", "last", "--json", *runs).stdout)
    assert [each["score"] for each in shown["contestants"]] == [0.0, 1.0]
    compared = json.loads(command("compare", "last:large", "last:coterie", "--json", *runs).stdout)
    assert compared["comparisons"][0]["difference"] == 1.0


def test_what_one_question_cannot_show_is_null_in_json(tmp_path: Path) -> None:
    suite = tmp_path / "sum.jsonl"
    suite.write_text(json.dumps(LINE) + "\n")
    with serving(lambda body: "4" if body["model"] == "large" else "5") as world:
        ran = command("run", suite, "--against", "coterie,large", *places(world, tmp_path))
    runs = ["--runs", tmp_path / "runs"]
    pair = ("last:large", "last:coterie")
    (folder,) = (tmp_path / "runs").iterdir()

    assert ran.exit_code == 0, ran.output
    assert command("compare", *pair, *runs).exit_code == 0
    json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)
    found = json.loads(command("compare", *pair, "--json", *runs).stdout, parse_constant=pytest.fail)
    assert found["comparisons"][0]["minimum_detectable"] is None


def test_answers_are_judged_from_a_file(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"question_id": "own-01", "model": "x", "answer": "So."}) + "\n")
    with serving(lambda body: verdict_of(body, "A=B")) as world:
        done = command(
            "judge", answers, "--data", "own", "--judge", "judge", "--limit", 1, *places(world, tmp_path)
        )

    assert done.exit_code == 0, done.output
    assert "arena-hard, 1 questions" in done.stdout


def test_what_was_refused_for_good_is_said(tmp_path: Path, suite: Path) -> None:
    with serving(lambda body: 400) as world:
        done = command("run", suite, "--against", "small", *places(world, tmp_path))

    # A refusal is final: there is no score, and nothing to go on with.
    assert done.exit_code == 0
    assert "3 items have no score" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "nothing-there", "--against", "small"], "there is no benchmark or file"),
        (["run", "mt-bench", "--data", "own", "--against", "small"], "nobody is named to judge"),
        (["run", "held-out"], "nobody is named to be evaluated"),
        (["run", "held-out", "--against", "nobody"], "has no 'nobody'; it has"),
        (["run", "held-out", "--against", "small", "--category", "x"], "no category x; there are"),
        (["run", "mt-bench", "--data", "own", "--mode", "pairwise", "--against", "small", "--judge", "judge"],
         "needs --baseline"),
        (["run", "mt-bench", "--data", "own", "--mode", "double", "--against", "a"], "--mode"),
        (["show", "last"], "no run begins with 'last'"),
        (["resume", "20260101"], "no run begins"),
        (["compare", "last", "last"], "no run begins"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, words: list[str], says: str
) -> None:
    with serving(lambda body: "4") as world:
        where = places(world, tmp_path) if words[0] == "run" else ["--runs", tmp_path / "runs"]
        done = command(*words, *where)

    assert done.exit_code == 1
    assert says in " ".join(done.output.split())
    assert not (tmp_path / "runs").exists()


def test_a_key_from_a_variable_that_is_not_set_is_refused(tmp_path: Path) -> None:
    done = command("run", "held-out", "--against", "small", "--key", "small=COTERIE_NO_SUCH_VARIABLE")

    assert done.exit_code == 2
    assert "COTERIE_NO_SUCH_VARIABLE is not set" in " ".join(done.output.split())
