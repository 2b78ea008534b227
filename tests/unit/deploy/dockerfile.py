"""A Dockerfile's instructions, as far as the tests ask about them."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of one stage, its continuation lines joined."""

    stage: str
    word: str
    rest: str


def read_dockerfile(path: Path) -> list[Instruction]:
    """The instructions of every stage, in order; those before the first FROM have the stage ""."""
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    stage, found = "", []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
        found.append(Instruction(stage, word, rest.strip()))
    return found


def shell_commands(instructions: list[Instruction]) -> list[tuple[str, str]]:
    """Every shell command of RUN instructions, with its stage."""
    runs = [each for each in instructions if each.word == "RUN"]
    return [(run.stage, part.strip()) for run in runs for part in run.rest.split("&&")]


def let_through(ignore: Path) -> set[str]:
    """Top-level names that a .dockerignore which starts with `*` lets into the build."""
    lines = [line.strip() for line in ignore.read_text().splitlines()]
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
