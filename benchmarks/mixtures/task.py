"""What a task is, and how its examples are drawn: seeded, distinct, train and test apart.

A task is a generator of examples whose answers a program knows. Knows nothing of models or prompts.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from prompts.mixture.answer_metrics import MetricName

MAX_MISSES = 2_000
"""So many draws in a row without a new input mean that the task has no more to give."""


class TaskError(Exception):
    """A task is unknown, or cannot give as many examples as were asked for."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its right answer. `kind` names the sub-skill, for reports; no method sees it."""

    input: str
    output: str
    kind: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task: `draw(rng)` gives one example of one of `kinds`."""

    name: str
    about: str
    """One line for the table of tasks."""
    kinds: tuple[str, ...]
    draw: Callable[[random.Random], Example]
    metric: MetricName = "exact"
    """`contains` only where repeating the question does not give the answer."""
    max_tokens: int = 12
    """Of an answer."""

    @property
    def mixed(self) -> bool:
        """Whether it is made of several sub-skills, so that regions can differ."""
        return len(self.kinds) > 1


@dataclass(frozen=True, slots=True)
class Split:
    """Examples to learn from and examples to judge with; no input is in both or twice."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]


def draw_split(task: Task, seed: int, *, train: int, test: int) -> Split:
    """The examples of `task` for `seed`: the same whenever and wherever they are drawn.

    Raises:
        TaskError: the task has fewer distinct inputs than `train + test`.
    """
    rng = random.Random(f"{task.name}/{seed}")
    found: dict[str, Example] = {}
    misses = 0
    while len(found) < train + test:
        example = task.draw(rng)
        misses = misses + 1 if example.input in found else 0
        if misses > MAX_MISSES:
            raise TaskError(
                f"{task.name} has only about {len(found)} distinct examples, {train + test} are needed: "
                "ask for fewer with --train and --test"
            )
        found.setdefault(example.input, example)
    examples = tuple(found.values())
    return Split(examples[:train], examples[train:])
