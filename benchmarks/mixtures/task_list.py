"""The tasks by name."""

from benchmarks.mixtures.label_tasks import DESK, TOPICS_TASK
from benchmarks.mixtures.reasoning_tasks import DATES, LOGIC, ORDERING, TABLES
from benchmarks.mixtures.task import Task
from benchmarks.mixtures.text_tasks import FORMATS, INITIALS, LETTERS, WORD_FORMS

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
