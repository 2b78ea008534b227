"""How commands speak."""

import io

import pytest
import typer

from base.terminal import WIDTH, console, fail, read_question, say, warn


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    warn("[one]")
    with pytest.raises(typer.Exit) as ended:
        fail(ValueError("two"), 3)
    say("[bold]three[/]")
    assert ended.value.exit_code == 3
    assert capsys.readouterr() == ("", "coterie: [one]\ncoterie: two\nthree\n")


def test_results_are_as_wide_in_a_pipe_as_anywhere() -> None:
    assert console(stderr=False).width == WIDTH


@pytest.mark.parametrize(("said", "piped", "found"), [("a?", "", "a?"), ("-", "b?\n", "b?\n")])
def test_a_question_is_an_argument_or_standard_input(
    said: str, piped: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    assert read_question(said) == found


def test_no_question_is_a_mistake() -> None:
    with pytest.raises(typer.Exit):
        read_question("  \n")
