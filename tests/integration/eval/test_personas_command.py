"""`coterie eval personas` against a service: what is asked, what the file learns, and how it goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.cli.evaluate import app
from experts.fake import Behaviour
from prompts.identities import Identity, load_identities, new_identities, save_identities
from tests.integration.eval.world import running

IDENTITY = "You are a counter of sums."
ITEM = '{"id": "%s-%d", "prompt": "%s: %d and what?", "check": {"kind": "number", "value": 4}}\n'


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    for category in ("math", "law"):
        lines = [ITEM % (category, number, category, number) for number in range(10)]
        (folder / f"{category}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    identities = [Identity(category=each, text=IDENTITY) for each in ("math", "law")]
    save_identities(new_identities("small", identities), path)
    return path


def helped(body: Mapping[str, Any]) -> Behaviour:
    """Right behind an identity; an identity when it is asked for one."""
    if body["messages"][-1]["content"].startswith("Describe the expert"):
        return Behaviour(reply=IDENTITY)
    return Behaviour(reply="4" if body["messages"][0]["role"] == "system" else "5")


def call(api: str, file: Path, suite: Path, *words: str) -> Any:
    answers = str(file.parent / "answers.jsonl")
    given = ["personas", str(file), "--api", api, "--suite", str(suite), "--answers", answers, *words]
    return CliRunner().invoke(app, given)


def test_identities_that_win_are_kept_and_nothing_is_asked_twice(file: Path, suite: Path) -> None:
    with running(helped) as world:
        result = call(world.api, file, suite)
        assert result.exit_code == 0, result.output
        assert "Kept in: law, math." in result.output
        assert load_identities(file).kept("category") == {"math", "law"}
        assert len(world.log.bodies) == 40
        behind = [body for body in world.log.bodies if body["messages"][0]["role"] == "system"]
        assert len(behind) == 20
        assert {body["messages"][0]["content"] for body in behind} == {IDENTITY}
        # With the expert's own sampling, which here is none: so the answers are those of `coterie score`.
        assert all("temperature" not in body for body in world.log.bodies)
        assert call(world.api, file, suite).exit_code == 0
        assert len(world.log.bodies) == 40


def test_identities_of_each_request_are_written_first(file: Path, suite: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "report.md"
    with running(helped) as world:
        words = ("--per", "request", "--category", "law", "--report", str(report))
        assert call(world.api, file, suite, *words).exit_code == 0
        assert len(world.log.bodies) == 30
    known = load_identities(file)
    assert known.kept("request") == {"law"}
    assert known.kept("category") == frozenset()
    assert "per request" in report.read_text()


def test_identities_that_hurt_are_not_kept(file: Path, suite: Path) -> None:
    def hurt(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(reply="5" if body["messages"][0]["role"] == "system" else "4")

    with running(hurt) as world:
        result = call(world.api, file, suite)
    assert "Hurts in: law, math" in result.output
    assert load_identities(file).kept("category") == frozenset()


def test_categories_measured_one_after_the_other_are_all_kept(file: Path, suite: Path) -> None:
    with running(helped) as world:
        for category in ("law", "math"):
            assert call(world.api, file, suite, "--category", category).exit_code == 0
        assert load_identities(file).kept("category") == {"law", "math"}
        result = call(world.api, file, suite, "--category", "law", "--confidence", "0.9")
        assert "no longer kept: math" in result.stderr
        assert load_identities(file).kept("category") == {"law"}


def test_the_bill_says_what_was_asked_now_and_what_it_took(file: Path, suite: Path) -> None:
    with running(helped) as world:
        first, again = (call(world.api, file, suite) for _ in range(2))
    assert "| without identities | 20 | " in first.stdout
    assert "asked now: 40 of 40 answers" in first.stderr
    assert "asked now: 0 of 40 answers" in again.stderr
    assert "serves: law, math" in again.stderr


def test_an_expert_that_stops_answering_leaves_the_file_alone_and_the_same_command_goes_on(
    file: Path, suite: Path
) -> None:
    before, ill = file.read_bytes(), [True]

    def tired(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(status=500) if ill[0] else helped(body)

    with running(tired) as world:
        refused = call(world.api, file, suite)
        assert refused.exit_code == 1
        assert "small failed" in refused.output
        assert file.read_bytes() == before
        ill[0] = False
        result = call(world.api, file, suite)
    assert "asked now: 40 of 40 answers" in result.stderr
    assert load_identities(file).kept("category") == {"law", "math"}


def test_a_file_that_changes_while_it_is_measured_keeps_the_change_and_not_the_verdict(
    file: Path, suite: Path
) -> None:
    def edited(body: Mapping[str, Any]) -> Behaviour:
        file.write_text(file.read_text().replace(IDENTITY, "You are a judge."))
        return helped(body)

    with running(edited) as world:
        result = call(world.api, file, suite)
    assert result.exit_code == 1
    assert "was changed" in result.output
    known = load_identities(file)
    assert {each.text for each in known.identities} == {"You are a judge."}
    assert not known.measured


def test_categories_without_an_identity_are_named(tmp_path: Path, suite: Path) -> None:
    file = tmp_path / "law.yaml"
    save_identities(new_identities("small", [Identity(category="law", text=IDENTITY)]), file)
    with running(helped) as world:
        assert "no identity of them: math." in call(world.api, file, suite).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--category", "music"), "no category music"),
        (("--suite", "/none.jsonl"), "/none.jsonl"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_leaves_the_file_alone(
    file: Path, suite: Path, words: tuple[str, ...], said: str
) -> None:
    before = file.read_bytes()
    with running(helped) as world:
        result = call(world.api, file, suite, *words)
    assert result.exit_code == 1
    assert said in result.output
    assert file.read_bytes() == before


def test_an_expert_that_is_not_there_is_said(file: Path, suite: Path) -> None:
    with running(helped, experts=({"name": "other", "params_b": 1},)) as world:
        result = call(world.api, file, suite)
    assert result.exit_code == 1
    assert "no expert small" in result.output
