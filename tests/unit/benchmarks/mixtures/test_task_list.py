"""Tasks give the same distinct examples for a seed, and their answers are right."""

import calendar
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from benchmarks.mixtures.label_tasks import PLANTS, REVIEWS, TOPICS
from benchmarks.mixtures.public_tasks import shared_tasks
from benchmarks.mixtures.task import Example, Task, TaskError, draw_split
from benchmarks.mixtures.task_list import TASKS
from benchmarks.mixtures.text_tasks import OPPOSITES, PAST, PLURALS
from benchmarks.mixtures.vocabulary import DAYS, MONTHS, NUMBERS
from prompts.mixture.answer_metrics import METRICS

EVERY = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))


def examples_of(name: str, kind: str) -> list[Example]:
    split = draw_split(TASKS[name], 5, train=100, test=50)
    found = [example for example in (*split.train, *split.test) if example.kind == kind]
    assert found
    return found


@EVERY
def test_a_seed_gives_the_same_examples_and_another_seed_others(task: Task) -> None:
    first = draw_split(task, 1, train=80, test=50)
    assert first == draw_split(task, 1, train=80, test=50)
    assert first.test != draw_split(task, 2, train=80, test=50).test


@EVERY
def test_no_input_is_in_both_parts_or_twice(task: Task) -> None:
    for seed in range(3):
        split = draw_split(task, seed, train=80, test=50)
        inputs = [example.input for example in (*split.train, *split.test)]
        assert len(inputs) == len(set(inputs)) == 130
        assert (len(split.train), len(split.test)) == (80, 50)


@EVERY
def test_every_kind_of_a_task_is_in_both_parts(task: Task) -> None:
    split = draw_split(task, 0, train=80, test=50)
    assert {example.kind for example in split.train} == set(task.kinds)
    assert {example.kind for example in split.test} == set(task.kinds)


@EVERY
def test_an_answer_is_right_by_its_own_metric_and_the_question_repeated_is_not(task: Task) -> None:
    metric = METRICS[task.metric]
    for example in draw_split(task, 3, train=80, test=50).train:
        assert metric(example.output, example.output) == 1.0
        if task.metric in {"exact", "contains"}:
            assert metric(example.input, example.output) == 0.0, example


@EVERY
def test_answers_are_short(task: Task) -> None:
    split = draw_split(task, 4, train=80, test=50)
    # Two characters a token is what rare words and digits come to.
    assert max(len(example.output) for example in split.train) <= 2 * task.max_tokens


def test_too_many_examples_are_refused_with_what_to_do() -> None:
    with pytest.raises(TaskError, match=r"word_forms has only about \d+ distinct.*--train"):
        draw_split(TASKS["word_forms"], 0, train=400, test=50)


def test_letters_are_counted_right() -> None:
    for example in examples_of("letters", "first"):
        assert f"word {example.output}" in example.input
        assert len(example.output) == 1
    for example in examples_of("letters", "spell"):
        assert example.output.replace("-", "") in example.input
        assert set(example.output[1::2]) == {"-"}
    for example in examples_of("letters", "join"):
        first, second = re.findall(r"Join (\w+) and (\w+)", example.input)[0]
        assert example.output == first + second
    for example in examples_of("letters", "twice"):
        assert len(set(example.output.split())) == 1
        assert len(example.output.split()) == 2


def test_initials_are_those_of_the_name() -> None:
    for example in examples_of("initials", "initials"):
        first, last = example.input.removeprefix("Initials of ").split()
        assert example.output == f"{first[0]}. {last[0]}."


def test_word_forms_differ_from_their_words() -> None:
    for forms in (PLURALS, PAST, OPPOSITES):
        assert all(word != form for word, form in forms.items())
    for word in PLURALS:
        assert word not in PAST.values()


def test_formats_keep_what_they_rewrite() -> None:
    for example in examples_of("formats", "name"):
        assert example.output.split() == example.input.split(", ")[::-1]
    for example in examples_of("formats", "time"):
        hour, minute = example.input.removesuffix(" pm").split(":")
        assert example.output == f"{int(hour) + 12}:{minute}"
    for example in examples_of("formats", "record"):
        name, age, city = (part.split("=")[1] for part in example.input.split("; "))
        assert example.output == f"{name} ({age}), {city}"
    for example in examples_of("formats", "list"):
        amount, goods = example.input.split(" x ")
        assert example.output == f"{goods}: {amount}"


def test_things_are_in_order() -> None:
    for example in examples_of("ordering", "sort numbers"):
        asked = [int(number) for number in re.findall(r"\d+", example.input)]
        assert [int(number) for number in example.output.split(", ")] == sorted(asked)
    for example in examples_of("ordering", "largest"):
        assert int(example.output) == max(int(number) for number in re.findall(r"\d+", example.input))
    for example in examples_of("ordering", "dictionary"):
        words = re.findall(r", (\w+) or (\w+)\?", example.input)[0]
        assert example.output == sorted(words)[0]


def test_dates_are_those_of_the_calendar() -> None:
    for example in examples_of("dates", "write out"):
        year, month, day = (int(part) for part in re.findall(r"\d+", example.input))
        assert example.output == f"{day} {MONTHS[month - 1]} {year}"
    for example in examples_of("dates", "weekday"):
        day_name, ahead = re.findall(r"Today is (\w+)\. .* in (\w+) day", example.input)[0]
        assert example.output == DAYS[(DAYS.index(day_name) + NUMBERS.index(ahead)) % 7]
    for example in examples_of("dates", "month length"):
        name, year = re.findall(r"in (\w+) (\d+)", example.input)[0]
        assert int(example.output) == calendar.monthrange(int(year), MONTHS.index(name) + 1)[1]
    for example in examples_of("dates", "year"):
        assert example.output.endswith(re.findall(r"/(\d\d)\?", example.input)[0])
        assert example.output.startswith("20")


def test_prices_are_those_of_the_list() -> None:
    for example in examples_of("tables", "table"):
        *rows, asked = example.input.split("\n")
        prices = dict(row.split(": ") for row in rows)
        assert example.output == prices[asked.removeprefix("The price of ").removesuffix("?")]


def test_logic_is_sound() -> None:
    for example in examples_of("logic", "boolean"):
        shown = re.findall(r"evaluate (.*)", example.input)[0]
        truth = shown.replace("not True", "F").replace("not False", "T").replace("True", "T")
        left, joint, right = truth.replace("False", "F").split()
        value = (
            left == right == "T" if joint == "and" else "T" in {left, right}
        )  # "not" binds closer than "and" and "or"
        assert example.output == str(value), example
    for example in examples_of("logic", "compare"):
        pairs = re.findall(r"(\w+) is taller than (\w+)", example.input)
        taller, shorter = {a for a, _ in pairs}, {b for _, b in pairs}
        wanted = taller - shorter if "tallest" in example.input else shorter - taller
        assert wanted == {example.output}
    for example in examples_of("logic", "holder"):
        gave = re.findall(r"gives it to (\w+)", example.input)
        kept = re.findall(r"but (\w+) keeps", example.input)
        assert [example.output] == (gave or kept)


def test_labels_follow_their_words() -> None:
    for example in examples_of("topics", "topics"):
        assert any(re.search(rf"\b{word}\b", example.input) for word in TOPICS[example.output])
    for example in examples_of("desk", "review"):
        assert any(example.input.endswith(f"is {word}.") for word in REVIEWS[example.output])
    for example in examples_of("desk", "plant"):
        assert example.input.split(" of ")[1] in PLANTS[example.output]
    for example in examples_of("desk", "sum"):
        first, second, shown = (int(number) for number in re.findall(r"-?\d+", example.input))
        assert example.output == ("oak" if first + second == shown else "elm")


def write_mmlu(folder: Path) -> None:
    folder.joinpath("mmlu_redux_helm").mkdir()
    rows = [
        {
            "subject": subject,
            "question": f"Question {number}?",
            "choices": "['one', 'two', 'three', 'four']",
            "mmlu_answer": "B",
            "error_type": "ok" if number % 2 else "wrong_groundtruth",
        }
        for number in range(40)
        for subject in ("marketing", "nutrition", "jurisprudence")
    ]
    rows = [row | {"question": f"{row['subject']}: {row['question']}"} for row in rows]
    path = folder / "mmlu_redux_helm" / "prompts.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_shared_data_become_a_task_without_questions_known_to_be_wrong(tmp_path: Path) -> None:
    write_mmlu(tmp_path)
    tasks = shared_tasks(tmp_path)
    assert list(tasks) == ["mmlu"]
    split = draw_split(tasks["mmlu"], 0, train=20, test=10)
    assert {example.kind for example in split.train} == {"marketing", "nutrition"}
    assert split.train[0].input.endswith("?\nA) one\nB) two\nC) three\nD) four")
    assert all(int(re.findall(r"Question (\d+)", each.input)[0]) % 2 for each in split.train)


def test_a_folder_without_the_data_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"mmlu_redux_helm/prompts\.parquet or flask_domains"):
        shared_tasks(tmp_path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("mmlu_redux_helm").mkdir()
    (tmp_path / "mmlu_redux_helm" / "prompts.parquet").write_text("nothing")
    with pytest.raises(TaskError, match=r"prompts\.parquet: cannot be read"):
        shared_tasks(tmp_path)
