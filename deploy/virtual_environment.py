"""Installs a lock file into a virtual environment and shows how far it is.

    python deploy/virtual_environment.py .venv locks/app.txt --torch torch==2.13.0+cpu --size 2.8

Runs before anything is installed, so it needs the standard library alone. On a terminal it rewrites one
line; elsewhere it writes a line every `LINE_S` seconds.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LINE_S = 10.0
REDRAW_S = 2.0
TAIL = 15
"""Lines of pip's output that are shown when it fails."""


@dataclass
class PipProgress:
    """What pip is doing, read from its output line by line."""

    packages: int
    folder: Path
    size: float
    """GB of the finished environment, about."""
    found: int = 0
    current: str = ""
    installing: bool = False

    def read(self, line: str) -> None:
        if match := re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line):
            self.found += 1
            self.current = match[1].replace("==", " ").rpartition("/")[2]
        elif match := re.search(r"(?:Downloading|Using cached) .*(\([\d.]+ [kMG]B\))", line):
            self.current = f"{self.current.partition(' (')[0]} {match[1]}"
        elif line.startswith("Installing collected packages"):
            self.installing = True

    def __str__(self) -> str:
        if self.installing:
            return f"unpacking: {megabytes(self.folder) / 1000:.1f} of about {self.size:g} GB"
        if not self.found:
            return "asking the package index"
        return f"fetching {min(self.found, self.packages)} of {self.packages}: {self.current}"


def megabytes(folder: Path) -> float:
    """Size of all files below `folder`, in MB (10^6 bytes)."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # pip renames while it installs
                continue
    return total / 1e6


@contextmanager
def shown(status: Callable[[], str], out: TextIO) -> Iterator[None]:
    """Writes `status` with the elapsed time, again and again, until the block is left."""
    started, over, terminal = time.monotonic(), threading.Event(), out.isatty()

    def write() -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        line = f"  {minutes}:{seconds:02} {status()}"
        out.write(f"\r\033[K{line[:78]}" if terminal else f"{line}\n")
        out.flush()

    def repeat() -> None:
        while not over.wait(REDRAW_S if terminal else LINE_S):
            write()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
        over.set()
        thread.join()
        write()
    finally:
        over.set()
        out.write("\n" if terminal else "")
        out.flush()


def pip(python: Path, words: Sequence[str], on_line: Callable[[str], None]) -> tuple[int, str]:
    """Exit code of `pip install`, and the end of what it wrote."""
    options = ["--no-deps", "--disable-pip-version-check", "--progress-bar", "off"]
    tail: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(
        [python, "-m", "pip", "install", *options, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        for line in process.stdout or ():
            on_line(line.strip())
            if not line.startswith("WARNING:"):
                tail.append(line.rstrip())
    return process.returncode, "\n".join(tail)


def with_progress(words: Sequence[str], progress: PipProgress, out: TextIO) -> tuple[int, str]:
    """What `pip` gives, shown while it runs."""
    with shown(lambda: str(progress), out):
        return pip(progress.folder / "bin" / "python", words, progress.read)


def has_pip(python: Path) -> bool:
    """Whether the environment is whole: one whose making was interrupted has a Python without pip."""
    return (
        python.exists()
        and not subprocess.run(
            [python, "-m", "pip", "--version"], capture_output=True, check=False
        ).returncode
    )


def install(folder: Path, lock: Path, torch: str, index: str, size: float, out: TextIO) -> int:
    """Make `folder` hold what `lock` lists. Exit code 0, or 1 after saying why not."""
    python = folder / "bin" / "python"
    packages = sum("==" in line for line in lock.read_text().splitlines() if not line.startswith("#"))
    out.write(
        f"{folder}: installing {packages} packages ({lock}), about {size:g} GB on disk; minutes, once.\n"
    )
    out.flush()
    if not has_pip(python) and subprocess.run([sys.executable, "-m", "venv", folder], check=False).returncode:
        out.write(
            f"error: {sys.executable} cannot make the virtual environment {folder}; on Debian and Ubuntu it "
            "takes the package python3-venv\n"
        )
        return 1
    # torch goes first and alone: any other resolution takes its CUDA build, several GB for nothing.
    failed, said = with_progress([torch], PipProgress(1, folder, size), out)
    if failed:
        failed, said = with_progress(["--index-url", index, torch], PipProgress(1, folder, size), out)
    if not failed:
        failed, said = with_progress(["-r", str(lock)], PipProgress(packages, folder, size), out)
    if failed:
        out.write(f"{said}\nerror: pip could not install {lock}; run the same command again to continue.\n")
    return int(bool(failed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--torch", required=True, help="requirement that is installed first")
    parser.add_argument("--torch-index", default="https://download.pytorch.org/whl/cpu")
    parser.add_argument("--size", type=float, required=True, help="GB of the finished environment, about")
    given = parser.parse_args(arguments)
    return install(given.folder, given.lock, given.torch, given.torch_index, given.size, sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
