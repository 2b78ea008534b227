"""The tasks by name."""

from eval.benchmarks.mixtures.labels import DESK, TOPICS_TASK
from eval.benchmarks.mixtures.task import Task
from eval.benchmarks.mixtures.texts import FORMATS, INITIALS, LETTERS, WORD_FORMS
from eval.benchmarks.mixtures.thinking import DATES, LOGIC, ORDERING, TABLES

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        LETTERS,
        INITIALS,
        WORD_FORMS,
        FORMATS,
        ORDERING,
        DATES,
        TABLES,
        LOGIC,
        TOPICS_TASK,
        DESK,
    )
}
