"""Tasks that take a small step of thought: ordering, dates, tables, logic."""

import calendar
import random
from datetime import date, timedelta

from benchmarks.mixtures.task import Example, Task
from benchmarks.mixtures.vocabulary import DAYS, FIRST, FRUIT, MONTHS, NOUNS, NUMBERS, SHORT


def _ordering(rng: random.Random) -> Example:
    match rng.choice(ORDERING.kinds):
        case "sort numbers":
            numbers = rng.sample(range(1, 100), 3)
            asked = ", ".join(map(str, numbers))
            return Example(
                f"Sort from small to large: {asked}", ", ".join(map(str, sorted(numbers))), "sort numbers"
            )
        case "largest":
            numbers = rng.sample(range(1, 1000), 3)
            return Example(
                f"Which number is the largest: {numbers[0]}, {numbers[1]} or {numbers[2]}?",
                str(max(numbers)),
                "largest",
            )
        case _:
            words = rng.sample(NOUNS, 2)
            while words[0][0] == words[1][0]:
                words = rng.sample(NOUNS, 2)
            return Example(
                f"Which word comes first in the dictionary, {words[0]} or {words[1]}?",
                min(words),
                "dictionary",
            )


def _dates(rng: random.Random) -> Example:
    day = date(2000, 1, 1) + timedelta(days=rng.randrange(9_500))
    match rng.choice(DATES.kinds):
        case "write out":
            return Example(
                f"Write out {day.isoformat()}.", f"{day.day} {MONTHS[day.month - 1]} {day.year}", "write out"
            )
        case "weekday":
            start, days = rng.randrange(7), rng.randint(1, 4)
            plural = "s" if days > 1 else ""
            return Example(
                f"Today is {DAYS[start]}. Which weekday is it in {NUMBERS[days]} day{plural}?",
                DAYS[(start + days) % 7],
                "weekday",
            )
        case "month length":
            year, month = rng.randint(2000, 2030), rng.randint(1, 12)
            days = calendar.monthrange(year, month)[1]
            return Example(f"Number of days in {MONTHS[month - 1]} {year}?", str(days), "month length")
        case _:
            return Example(
                f"Full year of {day.day:02d}/{day.month:02d}/{day.year % 100:02d}?", str(day.year), "year"
            )


def _tables(rng: random.Random) -> Example:
    goods, prices = rng.sample(FRUIT, 3), rng.sample(range(2, 100), 3)
    rows = "\n".join(f"{good}: {price}" for good, price in zip(goods, prices, strict=True))
    row = rng.randrange(3)
    return Example(f"{rows}\nThe price of {goods[row]}?", str(prices[row]), "table")


def _logic(rng: random.Random) -> Example:
    match rng.choice(LOGIC.kinds):
        case "compare":
            tall, middle, short = rng.sample(FIRST, 3)
            facts = [f"{tall} is taller than {middle}.", f"{middle} is taller than {short}."]
            rng.shuffle(facts)
            most, answer = rng.choice([("tallest", tall), ("shortest", short)])
            return Example(f"{' '.join(facts)} Who is the {most}?", answer, "compare")
        case "boolean":
            left, right = rng.random() < 0.5, rng.random() < 0.5
            negated = rng.random() < 0.5
            joint = rng.choice(["and", "or"])
            third = rng.choice(SHORT)
            value = (left != negated) and right if joint == "and" else (left != negated) or right
            shown = f"{'not ' if negated else ''}{left} {joint} {right}"
            return Example(f"Box {third}: evaluate {shown}", str(value), "boolean")
        case _:
            holder, other = rng.sample(FIRST, 2)
            thing, moved = rng.choice(NOUNS), rng.random() < 0.5
            story = f"{holder} has the {thing}. "
            story += (
                f"{holder} gives it to {other}." if moved else f"{other} asks for it, but {holder} keeps it."
            )
            return Example(f"{story} Who has the {thing} now?", other if moved else holder, "holder")


ORDERING = Task(
    "ordering",
    "Sorting three numbers, the largest of three, the first of two words in the dictionary",
    ("sort numbers", "largest", "dictionary"),
    _ordering,
)
DATES = Task(
    "dates",
    "Writing out ISO dates, weekdays ahead, lengths of months, the year of a date",
    ("write out", "weekday", "month length", "year"),
    _dates,
    "contains",
)
TABLES = Task("tables", "Looking up one of three prices in a list", ("table",), _tables, "numeric")
LOGIC = Task(
    "logic",
    "Who is tallest, the value of a Boolean expression, who holds a thing in the end",
    ("compare", "boolean", "holder"),
    _logic,
    max_tokens=8,
)
