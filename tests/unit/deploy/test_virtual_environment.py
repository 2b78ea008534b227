"""Installing finds a Python that runs, and says how far it is."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from app.settings import PROJECT
from deploy.virtual_environment import PipProgress, has_pip, install


def test_the_progress_follows_pips_output(tmp_path: Path) -> None:
    progress = PipProgress(packages=3, folder=tmp_path, size=2.8)
    said = []
    for line in (
        "Collecting faiss-cpu==1.15.1 (from -r locks/app.txt (line 40))",
        "Downloading faiss_cpu-1.15.1-cp311-cp311-manylinux_2_28_x86_64.whl (23.9 MB)",
        "Requirement already satisfied: six==1.17.0 in ./.venv/lib",
        "Processing /wheels/torch-2.13.0-cp311-cp311-linux_x86_64.whl",
        "Installing collected packages: faiss-cpu, torch",
    ):
        progress.read(line)
        said.append(str(progress))
    assert said == [
        "fetching 1 of 3: faiss-cpu 1.15.1",
        "fetching 1 of 3: faiss-cpu 1.15.1 (23.9 MB)",
        "fetching 2 of 3: six 1.17.0",
        "fetching 3 of 3: torch-2.13.0-cp311-cp311-linux_x86_64.whl",
        "unpacking: 0.0 of about 2.8 GB",
    ]


def test_an_environment_whose_making_was_interrupted_is_not_taken_for_whole(tmp_path: Path) -> None:
    """It has a Python without pip, with which every further try failed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    assert not has_pip(tmp_path / "venv" / "bin" / "python")
    assert not has_pip(tmp_path / "none" / "bin" / "python")
    assert has_pip(Path(sys.executable))


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = io.StringIO()
    assert install(tmp_path / "file" / "venv", tmp_path / "file", "torch", "", 0.1, said) == 1
    assert "python3-venv" in said.getvalue()


def make(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make .venv/.locked` in `folder`, which has our Makefile, a lock, and commands in `bin`."""
    shutil.copy(PROJECT / "Makefile", folder)
    (folder / "locks").mkdir()
    (folder / "locks" / "app.txt").touch()
    (folder / ".venv").mkdir()
    return subprocess.run(
        ["make", ".venv/.locked", *(f"{name}={value}" for name, value in variables.items())],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def command(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_make_takes_the_first_python_that_runs(tmp_path: Path) -> None:
    command(tmp_path / "bin" / "python3.11", "exit 127")  # as a shim of a version that is not there
    command(tmp_path / "bin" / "python3.12", f'echo "$@" >> {tmp_path}/called')
    assert make(tmp_path).returncode == 0
    assert "deploy/virtual_environment.py .venv locks/app.txt" in (tmp_path / "called").read_text()


def test_make_says_which_python_it_cannot_use(tmp_path: Path) -> None:
    done = make(tmp_path, PYTHON="no-such-python")
    assert done.returncode != 0
    assert "no-such-python" in done.stderr and "PYTHON=" in done.stderr
