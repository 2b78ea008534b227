"""What a command says of a setting that is wrong: the name that the user knows it by."""

import pytest
import typer

from app.cli.command_settings import read_settings


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("COTERIE_PORT", "abc", "COTERIE_PORT: Input should be a valid integer"),
        ("COTERIE_STRATEGY_OPTIONS", "{a", "COTERIE_STRATEGY_OPTIONS: Expecting property name"),
        ("COTERIE_STRATEGY_OPTIONS", '{"panel": 1}', "COTERIE_STRATEGY_OPTIONS.panel: Input should be"),
        ("COTERIE_CORS_ORIGINS", "example", "wrong: COTERIE_CORS_ORIGINS: 'example' is no origin"),
    ],
)
def test_a_variable_is_named(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(typer.Exit):
        read_settings()
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        read_settings(console_port=70000)
    assert "--console-port: Input should be less than" in " ".join(capsys.readouterr().err.split())
