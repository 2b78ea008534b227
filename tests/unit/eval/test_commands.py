"""Evaluation's commands reach `coterie` by entry points and cost nothing until they run."""

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[3]


def test_every_command_that_eval_adds_loads_and_has_help() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ours = {
        name: value
        for name, value in project["project"]["entry-points"]["coterie.commands"].items()
        if value.startswith("eval.")
    }
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        """So that each command keeps its name."""

    for name, value in ours.items():
        loaded = EntryPoint(name, value, "coterie.commands").load()
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name)
        else:
            app.command(name)(loaded)

    assert "score" in ours
    for name in ours:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("command", ["replay", "rate", "compare", "export", "offpolicy"])
def test_an_error_names_a_path_in_brackets_whole_and_in_one_line(tmp_path: Path, command: str) -> None:
    place = str(tmp_path / ("long-" * 20) / "[old]")
    arguments = {
        "replay": ("eval.cli.replay", [place, place]),
        "rate": ("eval.cli.eval_rate", [f"{place}.csv"]),
        "compare": ("eval.cli.eval_compare", [place, place]),
        "export": ("eval.cli.eval_export", [str(tmp_path / "out"), "--table", place]),
        "offpolicy": ("eval.cli.eval_offpolicy", [f"{place}.jsonl"]),
    }
    module, given = arguments[command]
    app = typer.Typer()
    app.command()(getattr(importlib.import_module(module), command))

    done = CliRunner().invoke(app, given)

    assert done.exit_code == 1
    assert place in done.stderr
    assert done.stderr.startswith("coterie: ")
    assert len(done.stderr.splitlines()) == 1


def test_importing_eval_brings_no_client_and_no_table_library() -> None:
    libraries = (
        "'aiohttp', 'pyarrow', 'numpy', 'rich.progress', 'torch', 'onnxruntime', 'faiss', 'inspect_ai'"
    )
    heavy = f"{{{libraries}, 'evalica'}}"
    ours = "eval.cli.score, eval.cli.replay, eval.cli.evaluate, eval.checks, eval.suite"
    code = f"import sys, {ours}; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
