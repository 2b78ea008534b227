"""The Dockerfiles: what they copy exists, what they install is locked, what they run as is not root."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.settings import PROJECT
from tests.unit.deploy.dockerfile import Instruction, let_through, read_dockerfile, shell_commands

API = PROJECT / "app" / "Dockerfile"
CONSOLE = PROJECT / "ui" / "Dockerfile"

Services = dict[str, dict[str, Any]]

each_file = pytest.mark.parametrize("path", [API, CONSOLE], ids=["api", "console"])


def copied(instructions: list[Instruction], stage: str | None = None) -> set[str]:
    """What COPY takes from the repository."""
    sources: set[str] = set()
    for each in instructions:
        if each.word == "COPY" and "--from=" not in each.rest and stage in {None, each.stage}:
            sources.update(each.rest.split()[:-1])
    return sources


def declared() -> dict[str, Any]:
    """The project table of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project


def locked() -> dict[str, str]:
    """Versions of locks/app.txt by canonical name."""
    lines = (PROJECT / "locks" / "app.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {str(canonicalize_name(name)): pinned for name, pinned in pairs}


def listed(path: Path, stage: str) -> list[str]:
    """What a stage's `python -c` prints, run here: the requirements that it installs."""
    commands = [text for where, text in shell_commands(read_dockerfile(path)) if where == stage]
    code = re.search(r'python -c "(.+?)" >', "\n".join(commands))
    assert code is not None
    # A shell takes \n inside double quotes as it stands.
    run = subprocess.run([sys.executable, "-c", code[1]], cwd=PROJECT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\n")[:-1]


def closure(requirements: list[str]) -> set[str]:
    """Everything that `requirements` bring along on this platform, themselves included."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        name = str(canonicalize_name(wanted.name))
        for extra in ("", *wanted.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            for text in distribution(name).requires or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in found}


@each_file
def test_everything_copied_is_in_the_repository_and_let_into_the_build(path: Path) -> None:
    allowed = let_through(path.with_name("Dockerfile.dockerignore"))
    sources = copied(read_dockerfile(path))
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert source.split("/")[0] in allowed, source
    assert allowed == {source.split("/")[0] for source in sources}


@each_file
def test_stages_copy_from_stages_that_come_before(path: Path) -> None:
    seen: set[str] = set()
    for each in read_dockerfile(path):
        seen.add(each.stage)
        if each.word == "COPY" and (source := re.search(r"--from=(\S+)", each.rest)):
            assert source[1] in seen - {each.stage}


@each_file
def test_the_base_image_is_pinned_and_of_the_python_that_is_tested(path: Path) -> None:
    base = next(each.rest for each in read_dockerfile(path) if each.word == "ARG")
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-bookworm", base)
    froms = [each.rest.split()[0] for each in read_dockerfile(path) if each.word == "FROM"]
    assert set(froms) <= {"${PYTHON}", "base"}


@each_file
def test_every_install_is_held_to_the_lock(path: Path) -> None:
    torch = re.search(r"^TORCH := (\S+)$", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
    assert torch is not None
    installs = [text for _, text in shell_commands(read_dockerfile(path)) if "pip install" in text]
    assert installs
    for command in installs:
        alone = command.startswith("pip install --no-deps ") and command.split()[-1] == torch[1]
        assert alone or "--constraint locks/app.txt" in command, command


def test_the_api_has_the_core_and_postgresql_and_nothing_else() -> None:
    project = declared()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    assert listed(API, "packages") == wanted


def test_the_console_has_its_own_packages_alone() -> None:
    extras = declared()["optional-dependencies"]["ui"]
    assert listed(CONSOLE, "packages") == [*extras, "httpx2", "pydantic", "pydantic-settings"]
    imported = {
        found
        for folder in ("client", "ui")
        for file in (PROJECT / folder).glob("*.py")
        for found in re.findall(r"^(?:from|import) (\w+)", file.read_text(), flags=re.MULTILINE)
    }
    outside = imported - sys.stdlib_module_names - {"base", "client", "ui"}
    assert outside <= {Requirement(each).name.replace("-", "_") for each in listed(CONSOLE, "packages")}


@pytest.mark.parametrize(("path", "stage"), [(API, "packages"), (API, "encoder"), (CONSOLE, "packages")])
def test_all_that_comes_along_has_a_locked_version(path: Path, stage: str) -> None:
    assert closure(listed(path, stage)) - locked().keys() == set()


def test_the_encoder_is_exported_with_the_packages_of_its_extra() -> None:
    assert set(listed(API, "encoder")) > set(declared()["optional-dependencies"]["encoder"])


def test_torch_stays_in_the_encoders_stage() -> None:
    assert "torch" not in closure(listed(API, "packages"))
    stages = {stage for stage, text in shell_commands(read_dockerfile(API)) if "torch" in text}
    assert stages == {"encoder"}


def test_the_images_hold_the_folders_that_they_import() -> None:
    assert copied(read_dockerfile(API), "api") == {
        "app/",
        "base/",
        "client/",
        "experts/",
        "prompts/",
        "routers/",
    }
    assert copied(read_dockerfile(CONSOLE), "console") == {"base/", "client/", "ui/"}


@each_file
def test_the_image_does_not_run_as_root(path: Path) -> None:
    users = [each.rest for each in read_dockerfile(path) if each.word == "USER"]
    assert users == ["10001"]


@pytest.mark.parametrize(("path", "service"), [(API, "api"), (CONSOLE, "console")])
def test_image_and_compose_check_health_alike(path: Path, service: str, services: Services) -> None:
    check = next(each.rest for each in read_dockerfile(path) if each.word == "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert services[service]["healthcheck"]["test"] == ["CMD", *command]
