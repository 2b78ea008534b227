"""Tasks on words and forms: letters, initials, word forms, formats."""

import random

from benchmarks.mixtures.task import Example, Task
from benchmarks.mixtures.vocabulary import CITIES, FIRST, FRUIT, LAST, NOUNS, SHORT

PLURALS = {
    "mouse": "mice", "tooth": "teeth", "foot": "feet", "child": "children", "woman": "women", "man": "men",
    "goose": "geese", "knife": "knives", "leaf": "leaves", "wolf": "wolves", "box": "boxes", "bus": "buses",
    "city": "cities", "baby": "babies", "berry": "berries", "church": "churches", "glass": "glasses",
    "potato": "potatoes", "wife": "wives", "shelf": "shelves", "story": "stories", "fox": "foxes",
    "brush": "brushes", "hero": "heroes", "lady": "ladies", "loaf": "loaves", "table": "tables",
    "dog": "dogs", "river": "rivers", "song": "songs", "chair": "chairs", "tree": "trees", "key": "keys",
    "day": "days", "house": "houses", "horse": "horses", "calf": "calves", "half": "halves", "fly": "flies",
    "party": "parties", "watch": "watches", "dish": "dishes", "tomato": "tomatoes", "ox": "oxen",
    "person": "people", "thief": "thieves", "lunch": "lunches", "class": "classes", "monkey": "monkeys",
    "window": "windows", "pencil": "pencils", "country": "countries",
}  # fmt: skip
PAST = {
    "go": "went", "run": "ran", "eat": "ate", "see": "saw", "take": "took", "give": "gave", "sing": "sang",
    "write": "wrote", "drive": "drove", "break": "broke", "speak": "spoke", "fall": "fell", "know": "knew",
    "grow": "grew", "fly": "flew", "draw": "drew", "buy": "bought", "think": "thought", "teach": "taught",
    "catch": "caught", "bring": "brought", "sleep": "slept", "keep": "kept", "feel": "felt", "leave": "left",
    "meet": "met", "win": "won", "find": "found", "stand": "stood", "tell": "told", "sell": "sold",
    "make": "made", "build": "built", "send": "sent", "swim": "swam", "drink": "drank", "begin": "began",
    "choose": "chose", "forget": "forgot", "ride": "rode", "walk": "walked", "jump": "jumped",
    "carry": "carried", "stop": "stopped", "plan": "planned", "study": "studied", "open": "opened",
    "wear": "wore", "throw": "threw", "hide": "hid", "wake": "woke", "steal": "stole",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "happy": "sad", "young": "old", "full": "empty",
    "early": "late", "hard": "soft", "heavy": "light", "high": "low", "open": "closed", "rich": "poor",
    "strong": "weak", "thick": "thin", "wet": "dry", "wide": "narrow", "clean": "dirty", "deep": "shallow",
    "dark": "light", "sharp": "blunt", "loud": "quiet", "near": "far", "left": "right", "up": "down",
    "in": "out", "first": "last", "begin": "end", "buy": "sell", "win": "lose", "push": "pull",
    "love": "hate", "day": "night", "north": "south", "east": "west", "true": "false", "always": "never",
    "inside": "outside", "above": "below", "front": "back", "sweet": "sour", "brave": "cowardly",
    "cheap": "expensive", "easy": "difficult", "tall": "short", "asleep": "awake", "alive": "dead",
    "give": "take", "friend": "enemy", "question": "answer", "arrive": "depart", "remember": "forget",
    "present": "absent",
}  # fmt: skip


def _letters(rng: random.Random) -> Example:
    word = rng.choice(NOUNS)
    match rng.choice(LETTERS.kinds):
        case "first":
            return Example(f"What is the first letter of the word {word}?", word[0], "first")
        case "twice":
            word = rng.choice(SHORT)
            return Example(f"Write {word} two times.", f"{word} {word}", "twice")
        case "spell":
            word = rng.choice(SHORT)
            return Example(f"Spell {word} with hyphens between the letters.", "-".join(word), "spell")
        case _:
            parts = rng.sample(SHORT, 2)
            return Example(f"Join {parts[0]} and {parts[1]} into one word.", "".join(parts), "join")


def _initials(rng: random.Random) -> Example:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    return Example(f"Initials of {first} {last}", f"{first[0]}. {last[0]}.", "initials")


def _word_forms(rng: random.Random) -> Example:
    match rng.choice(WORD_FORMS.kinds):
        case "plural":
            word = rng.choice(list(PLURALS))
            return Example(f"one {word}, two ...", PLURALS[word], "plural")
        case "past":
            word = rng.choice(list(PAST))
            return Example(f"today we {word}, yesterday we ...", PAST[word], "past")
        case _:
            word = rng.choice(list(OPPOSITES))
            return Example(f"the opposite of {word}", OPPOSITES[word], "opposite")


def _formats(rng: random.Random) -> Example:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    match rng.choice(FORMATS.kinds):
        case "name":
            return Example(f"{last}, {first}", f"{first} {last}", "name")
        case "time":
            hour, minute = rng.randint(1, 11), rng.choice(range(0, 60, 5))
            return Example(f"{hour}:{minute:02d} pm", f"{hour + 12}:{minute:02d}", "time")
        case "record":
            age = rng.randint(18, 80)
            city = rng.choice(CITIES)
            return Example(f"name={first}; age={age}; city={city}", f"{first} ({age}), {city}", "record")
        case _:
            goods, amount = rng.choice(FRUIT), rng.randint(2, 40)
            return Example(f"{amount} x {goods}", f"{goods}: {amount}", "list")


LETTERS = Task(
    "letters",
    "First letter of a word, a word twice, spelling with hyphens, joining two words",
    ("first", "twice", "spell", "join"),
    _letters,
    max_tokens=14,
)
INITIALS = Task("initials", "Initials of a name", ("initials",), _initials)
WORD_FORMS = Task(
    "word_forms",
    "Plurals, past tenses and opposites",
    ("plural", "past", "opposite"),
    _word_forms,
    "contains",
)
FORMATS = Task(
    "formats",
    "Names, times, records and list entries rewritten in another form; the input alone, no question",
    ("name", "time", "record", "list"),
    _formats,
    max_tokens=16,
)
