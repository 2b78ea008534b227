"""Commands, links and figures of the pages that people read first are those of the code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.root import build
from app.settings import PROJECT
from eval.cli.score import score
from experts.registry import load_registry

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


def shell_lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def commands(word: str) -> list[list[str]]:
    """Every call of `word` in a shell block, split into words."""
    calls = []
    for page in PAGES:
        for line in shell_lines(page):
            for part in line.split(" | "):
                if called := re.match(rf"(?:[A-Z_]+=\S* )*{word}(?: (.*))?$", part):
                    calls.append(shlex.split(called[1] or ""))
    return calls


def coterie() -> Any:
    """The whole command. `score` is added by an entry point, which a checkout need not have."""
    app = build()
    if "score" not in {each.name for each in app.registered_commands}:
        app.command("score")(score)
    return typer.main.get_command(app)


@pytest.mark.parametrize("words", commands("coterie"), ids=" ".join)
def test_commands_of_the_pages_can_be_called_as_they_stand(words: list[str]) -> None:
    command = coterie()
    while hasattr(command, "commands"):
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    # Raises UsageError for an option or argument that is not there.
    command.make_context("coterie", [word for word in words if word != "..."])


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_targets_and_variables_of_the_pages_exist(words: list[str]) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, assigned, _ = word.partition("=")
        pattern = rf"^{name}\s*\??=" if assigned else rf"^{re.escape(name)}:"
        assert name == "..." or re.search(pattern, makefile, re.MULTILINE), word


@every_page
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_on_gpus_shows_the_pool_as_it_is() -> None:
    page = (PROJECT / "docs" / "how-to" / "gpu-host.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\S+/\S+) \| [\d, ]+ \|$", page, re.MULTILINE)
    pool = load_registry(PROJECT / "experts" / "gpu.yaml").experts
    assert rows == [(expert.name, expert.model) for expert in pool.values() if expert.base is None]


def leaves(command: Any, *names: str) -> list[str]:
    """Every command below `command`, with the words that call it."""
    if not hasattr(command, "commands"):
        return [" ".join(names)]
    return [leaf for name, each in command.commands.items() for leaf in leaves(each, *names, name)]


def test_the_page_on_commands_has_every_command_and_no_other() -> None:
    page = (PROJECT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(coterie .+?)` \|", page, re.MULTILINE)) == set(leaves(coterie(), "coterie"))


def test_the_first_page_and_the_glossary_are_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 120
    glossary = (PROJECT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| (?!term )\w", glossary, re.MULTILINE)) <= 25


@every_page
def test_modules_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = "app|base|benchmarks|client|deploy|eval|experts|prompts|routers|tests|ui"
    named = set(re.findall(rf"\b(?:{folders})/[\w/]+\.py\b", text))
    for module in re.findall(r"python -m (benchmarks(?:\.\w+)+)", text):
        path = module.replace(".", "/")
        named.add(f"{path}/__main__.py" if (PROJECT / path).is_dir() else f"{path}.py")
    assert {name for name in named if not (PROJECT / name).exists()} == set()


def test_every_benchmark_has_its_row() -> None:
    page = (PROJECT / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    programs = {
        file.stem
        for file in (PROJECT / "benchmarks").glob("*.py")
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
    }
    assert {name for name in programs if not re.search(rf"^\| `{name}[ `]", page, re.MULTILINE)} == set()


def test_registries_that_the_pages_show_are_valid(tmp_path: Path) -> None:
    shown = 0
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            if re.search(r"^experts:", block, re.MULTILINE):
                file = tmp_path / f"{shown}.yaml"
                file.write_text(block)
                assert load_registry(file).experts
                shown += 1
    assert shown > 0
