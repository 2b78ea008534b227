"""The manifest of a run, with what reproducing it needs (code version, digests, judges, seeds, command), and
the folder of runs."""

import os
import platform
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from base.json_documents import write_json
from eval.errors import EvalError

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path("var/eval/runs")
MANIFEST = "manifest.json"
ITEMS = "items.jsonl"
VERDICTS = "verdicts.parquet"
RESULTS = "results.json"
LOGS = "logs"


class RunError(EvalError):
    """A run cannot be created, found or resumed; the message says what to do."""


class Manifest(BaseModel):
    """`status`: `running` (or interrupted), `incomplete` or `complete`."""

    model_config = ConfigDict(extra="forbid")

    id: str
    benchmark: str
    created_at: str
    finished_at: str | None = None
    status: str = "running"
    command: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    """The `RunRequest`, for `coterie eval resume`."""
    code: dict[str, Any] = {}
    contestants: tuple[dict[str, Any], ...] = ()
    protocol: dict[str, Any] = {}
    """From the benchmark: judges, prompts, baseline."""
    data: dict[str, str] = {}
    """SHA-256 of each data file, by its role."""
    seed: int | None = None
    questions: int = 0
    cache: str = ""
    seconds: float = 0.0
    """Running time over all resumptions."""
    asked: dict[str, int] = {}
    """Uncached answers and judgments by contestant or judge."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run on disk."""

    folder: Path
    manifest: Manifest = field(compare=False)


def new_run_id(benchmark: str) -> str:
    """A unique id that sorts by time: `20261122-040501-mt-bench-3fa9`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{benchmark}-{secrets.token_hex(2)}"


@lru_cache(maxsize=1)
def code_version() -> dict[str, Any]:
    """The commit and whether the tree is dirty, or the installed version; and versions of dependencies."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("coterie", "inspect-ai"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    except (OSError, subprocess.SubprocessError):
        return found
    return found | {"commit": commit, "changed": bool(changed)}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest atomically. Raises DocumentError."""
    write_json(manifest.model_dump(mode="json"), folder / MANIFEST)


def load_run(folder: Path) -> RunFolder:
    """Read one run. Raises RunError (no manifest, or an invalid one)."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(
            f"{folder} holds no run ({error.strerror}); `coterie eval list` shows what there is"
        ) from error
    except ValidationError as error:
        raise RunError(f"{path} is no manifest of this version") from error
    return RunFolder(folder, manifest)


def list_runs(runs: Path = RUNS) -> tuple[RunFolder, ...]:
    """All runs, newest first; folders without a readable manifest are skipped."""
    found = []
    for path in runs.glob(f"*/{MANIFEST}"):
        try:
            found.append(load_run(path.parent))
        except RunError:
            continue
    return tuple(sorted(found, key=lambda run: (run.manifest.created_at, run.manifest.id), reverse=True))


def find_run(name: str, runs: Path = RUNS) -> RunFolder:
    """The run with this id or prefix of one, a folder, or `last`. Raises RunError (no match, or several)."""
    if os.sep in name or (Path(name) / MANIFEST).is_file():
        return load_run(Path(name))
    there = list_runs(runs)
    if name == "last" and there:
        return there[0]
    matching = [run for run in there if run.manifest.id.startswith(name)]
    exact = [run for run in matching if run.manifest.id == name]
    if len(exact or matching) != 1:
        problem = "several runs begin" if matching else "no run begins"
        raise RunError(f"{problem} with {name!r} in {runs}; `coterie eval list` shows them")
    return (exact or matching)[0]


def contestants_of(documents: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of a manifest's contestants."""
    return tuple(str(each["name"]) for each in documents)
