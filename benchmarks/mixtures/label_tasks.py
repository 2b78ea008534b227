"""Tasks of classification with labels that mean nothing by themselves; the input alone, no question."""

# ruff: noqa: SIM905 - a dozen words read better as text than as a list

import random

from benchmarks.mixtures.task import Example, Task
from benchmarks.mixtures.vocabulary import CITIES, FIRST, NOUNS

TOPICS = {
    "kite": [
        "rain",
        "fog",
        "snow",
        "sunshine",
        "wind",
        "thunder",
        "hail",
        "frost",
        "clouds",
        "lightning",
        "drizzle",
        "storms",
    ],
    "moss": [
        "soup",
        "rice",
        "cake",
        "bread",
        "stew",
        "cheese",
        "noodles",
        "salad",
        "pancakes",
        "sausages",
        "butter",
        "pastry",
    ],
    "drum": [
        "football",
        "tennis",
        "swimming",
        "boxing",
        "hockey",
        "rowing",
        "cycling",
        "golf",
        "wrestling",
        "skiing",
        "rugby",
        "fencing",
    ],
    "salt": [
        "taxes",
        "loans",
        "shares",
        "wages",
        "rents",
        "pensions",
        "debts",
        "mortgages",
        "prices",
        "profits",
        "budgets",
        "fees",
    ],
}
"""By label, what a sentence may be about: weather, food, sport, money."""
FRAMES = (
    "There was much talk of {thing} in {city}.",
    "{name} never thinks about {thing}.",
    "{name} wrote a long letter about {thing}.",
    "In {city} they know all about {thing}.",
    "For {name}, last year was a year of {thing}.",
    "The {city} paper has a page on {thing}.",
)

REVIEWS = {
    "gold": ["wonderful", "a joy", "better than I hoped", "worth every cent", "excellent", "delightful"],
    "rust": ["awful", "a waste of money", "broken after a day", "a disappointment", "useless", "terrible"],
}  # fmt: skip
PLANTS = {
    "sun": "apple banana cherry grape lemon mango melon orange peach pear pineapple plum strawberry".split(),
    "moon": """broccoli cabbage carrot cauliflower celery garlic leek lettuce onion potato radish
        spinach""".split(),
}  # fmt: skip


def _topics(rng: random.Random) -> Example:
    label = rng.choice(list(TOPICS))
    said = rng.choice(FRAMES).format(
        thing=rng.choice(TOPICS[label]), city=rng.choice(CITIES), name=rng.choice(FIRST)
    )
    return Example(said, label, "topics")


def _desk(rng: random.Random) -> Example:
    match rng.choice(DESK.kinds):
        case "review":
            label = rng.choice(list(REVIEWS))
            return Example(
                f"{rng.choice(FIRST)} writes: the {rng.choice(NOUNS)} is {rng.choice(REVIEWS[label])}.",
                label,
                "review",
            )
        case "plant":
            label = rng.choice(list(PLANTS))
            plant = rng.choice(PLANTS[label])
            return Example(f"{rng.randint(2, 9)} kg of {plant}", label, "plant")
        case _:
            first, second = rng.randint(1, 9), rng.randint(1, 9)
            right = rng.random() < 0.5
            shown = first + second if right else first + second + rng.choice([-2, -1, 1, 2])
            return Example(f"{first} + {second} = {shown}", "oak" if right else "elm", "sum")


TOPICS_TASK = Task(
    "topics", "Sentences about weather, food, sport and money, each topic with a made-up label",
    ("topics",), _topics, max_tokens=5,
)  # fmt: skip
DESK = Task(
    "desk",
    "Reviews, groceries and small sums, each with a pair of made-up labels of its own",
    ("review", "plant", "sum"),
    _desk,
    max_tokens=5,
)
