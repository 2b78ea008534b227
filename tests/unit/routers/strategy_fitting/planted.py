"""A small world in which strategies have something to find.

Four experts answer letters on two topics. `cheap` and `small` are right two times in three and err apart;
`big` is better and dear; `echo` repeats what `small` says.
"""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from eval.outcome_export import write_table
from routers.outcome_table import OutcomeTable
from routers.strategies import State
from routers.strategy_fitting.recorded_answers import RecordedAnswers, recorded
from routers.strategy_fitting.training_data import TrainingData
from tests.unit.routers.world import card

CARDS = (card("cheap", 2.0), card("small", 3.0), card("echo", 3.0), card("big", 20.0))
CHANCES = {"cheap": (0.75, 0.55), "small": (0.55, 0.75), "big": (0.85, 0.85)}
LETTERS = "ABCDEFGH"
TOPICS = {"coding": "function loop compile bug", "law": "contract court tenant clause"}


def table(prompts: int = 400, seed: int = 0) -> RecordedAnswers:
    """`prompts` prompts, half of each topic, the right letter of each drawn anew."""
    random = np.random.default_rng(seed)
    topics = [name for name in TOPICS for _ in range(prompts // 2)]
    right = random.integers(len(LETTERS), size=len(topics))
    letters: dict[str, list[str]] = {}
    for name, chances in CHANCES.items():
        chance = np.asarray([chances[list(TOPICS).index(topic)] for topic in topics])
        wrong = (right + random.integers(1, len(LETTERS), size=len(topics))) % len(LETTERS)
        letters[name] = [
            LETTERS[each] for each in np.where(random.random(len(topics)) < chance, right, wrong)
        ]
    letters["echo"] = list(letters["small"])
    names = [each.name for each in CARDS]
    scores = np.stack([[LETTERS.index(each) for each in letters[name]] == right for name in names], axis=1)
    words = [
        " ".join(random.choice(TOPICS[topic].split(), 6)) + f" {topic}{seed}n{place}"
        for place, topic in enumerate(topics)
    ]
    uids = tuple(f"{seed}-{place}" for place in range(len(topics)))
    made = OutcomeTable(uids, tuple(topics), tuple(words), CARDS, scores.astype(np.float32))
    return recorded(made, {"uid": list(uids), **letters})


def training(data: RecordedAnswers) -> TrainingData:
    """The prompts with a router that knows their topics."""
    topic = np.asarray([list(TOPICS).index(each) for each in data.table.categories])
    means = np.stack([np.nanmean(data.scores[topic == each], axis=0) for each in range(len(TOPICS))])
    state = State.begin(np.eye(len(TOPICS))[topic], means[topic], data.known)
    return TrainingData(data, state, np.arange(len(data)) % 3, data.sizes)


def write(data: RecordedAnswers, folder: Path) -> Path:
    """The planted table as a folder."""
    write_table(data.table, folder)
    names = data.table.expert_names
    answers = {name: [LETTERS[each] for each in data.answers[:, column]] for column, name in enumerate(names)}
    columns = pyarrow.table({"uid": list(data.table.uids), **answers})
    pyarrow.parquet.write_table(columns, folder / "answers.parquet")
    return folder
