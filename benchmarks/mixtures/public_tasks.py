"""Tasks made of public data sets in a folder that is given at run time; nothing of them is shipped.

`mmlu` asks multiple choice questions of many subjects (`mmlu_redux_helm/prompts.parquet`: subject,
question, choices, mmlu_answer, error_type). `domains` names what an instruction is about
(`flask_domains/flask_evaluation.parquet`: instruction, domain).
"""

import ast
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.mixtures.task import Example, Task, TaskError

LONGEST = 240
"""Characters of an input: longer ones would make eight demos of them too long for small contexts."""
SUBJECTS = {
    "high_school_geography": "geography",
    "nutrition": "nutrition",
    "elementary_mathematics": "mathematics",
    "high_school_psychology": "psychology",
    "marketing": "marketing",
    "us_foreign_policy": "politics",
}
"""Subjects of different kinds with short questions."""


def shared_tasks(folder: Path) -> dict[str, Task]:
    """The tasks whose files are in `folder`, by name.

    Raises:
        TaskError: the folder has none of them, or a file without the columns that are needed.
    """
    tasks = {}
    for name, (path, read) in FILES.items():
        file = folder / path
        if file.is_file():
            tasks[name] = read(_rows(file))
    if not tasks:
        wanted = " or ".join(path for path, _ in FILES.values())
        raise TaskError(f"{folder}: holds neither {wanted}")
    return tasks


def _mmlu(rows: Sequence[dict[str, Any]]) -> Task:
    examples = []
    for row in rows:
        kind = SUBJECTS.get(row["subject"])
        if kind is None or row["error_type"] != "ok":
            continue
        choices = ast.literal_eval(row["choices"]) if isinstance(row["choices"], str) else row["choices"]
        options = "\n".join(f"{letter}) {choice}" for letter, choice in zip("ABCD", choices, strict=False))
        asked = f"{row['question'].strip()}\n{options}"
        if len(asked) <= LONGEST:
            examples.append(Example(asked, str(row["mmlu_answer"]), kind))
    kinds = tuple(dict.fromkeys(example.kind for example in examples))
    return Task(
        "mmlu",
        "Multiple choice questions of six subjects (MMLU-Redux)",
        kinds,
        _drawing(examples),
        metric="choice",
        max_tokens=8,
    )


def _domains(rows: Sequence[dict[str, Any]]) -> Task:
    examples = []
    for row in rows:
        asked, domains = str(row["instruction"]).strip(), list(row["domain"])
        # Where two labels are right, one answer would be scored wrong by chance.
        if len(domains) == 1 and 0 < len(asked) <= LONGEST:
            examples.append(Example(asked, str(domains[0]), "domains"))
    return Task(
        "domains",
        "Naming the domain of an instruction, one of ten (FLASK); the input alone, no question",
        ("domains",),
        _drawing(examples),
        max_tokens=6,
    )


def _drawing(examples: Sequence[Example]) -> Callable[[random.Random], Example]:
    if not examples:
        raise TaskError("a file of the shared data has no example that can be used")
    return lambda rng: rng.choice(examples)


def _rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise TaskError(f"{file}: cannot be read as parquet: {error}") from error
    return rows


FILES: dict[str, tuple[str, Callable[[Sequence[dict[str, Any]]], Task]]] = {
    "mmlu": ("mmlu_redux_helm/prompts.parquet", _mmlu),
    "domains": ("flask_domains/flask_evaluation.parquet", _domains),
}
