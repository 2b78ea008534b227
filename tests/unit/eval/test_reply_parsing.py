"""Answers are read out of replies as small models really write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.reply_parsing import (
    bare,
    code_candidates,
    contains_phrase,
    count_words,
    fenced_blocks,
    fold,
    normalise,
    read_choice,
    read_number,
    read_objects,
    unfenced,
)
from tests.growth import grows_no_faster_than_linear

NUMBERS = [
    ("12", 12),
    ("7.", 7),
    ("**42**", 42),
    ("$1,204.00", 1204),
    ("1.204,50 €", 1204.5),
    ("1'250'000", 1250000),
    ("1\u202f250", 1250),
    ("12,345,678", 12345678),
    ("3,5", 3.5),
    ("0,125", 0.125),
    ("1,125", 1125),
    (".5", 0.5),
    ("-5", -5),
    ("x = −5", -5),
    ("It is 3-5", 5),
    ("10 - 3 = 7", 7),
    ("2 x 10^3", 2000),
    ("2 \\times 10 is 20", 20),
    ("6.02e3", 6020),
    ("15%", 15),
    ("５０", 50),
    ("Es sind 150 Minuten.", 150),
    ("123です", 123),
    ("Nine.", 9),
    ("**twelve**", 12),
    ("The answer is 14", 14),
    ("The answer is **14**, because 9 + 5 = 14 and 9 is 5 more than 4", 14),
    ("Answer: 150 minutes (2.5 * 60)", 150),
    ("**Answer:** 26 cm", 26),
    ("The final answer is: $26$ cm^2", 26),
    ("La respuesta es 24, no 25", 24),
    ("So we get 3 * 4.\n#### 12", 12),
    ("The area is 26 cm^2", 26),
    ("The area is 26 cm^{2}", 26),
    (r"Thus \boxed{12}. To check: 15 * 0.8", 12),
    (r"\boxed{7} is wrong, so \boxed{8}", 8),
    (r"\boxed{\frac{3}{4}}", 0.75),
    (r"\boxed{1{,}250}", 1250),
    (r"\boxed{26\text{ cm}}", 26),
    (r"The result is \(44\).", 44),
    ("8\n\nA spider has 8 legs and 2 body parts", 8),
    ("I think 5, no wait, it is 6", 6),
    ("carbon dioxide is CO2 and there are 3 atoms", 3),
    ("3 atoms in CO2", 3),
    ("```\n42\n```", 42),
    ("1st", 1),
    ("9, 12, 15", 15),
    ("1990", 1990),
    ("In 1990 200 people", 200),
]


@pytest.mark.parametrize(("reply", "number"), NUMBERS)
def test_the_number_of_a_reply_is_read(reply: str, number: float) -> None:
    assert read_number(reply) == pytest.approx(number)


@pytest.mark.parametrize(
    "reply",
    ["", "I do not know.", "∞", "nobody knows, one would think", "\\boxed{}", "1e999", "9" * 400, "²", "--"],
)
def test_a_reply_without_a_number_has_none(reply: str) -> None:
    assert read_number(reply) is None


@given(st.integers(-(10**12), 10**12))
def test_an_integer_is_read_back_however_it_is_grouped(value: int) -> None:
    for written in (
        f"{value}",
        f"{value:,}",
        f"The answer is {value:,}.",
        f"\\boxed{{{value}}}",
        f"x = {value}",
    ):
        assert read_number(written) == value


@given(st.integers(-(10**6), 10**6), st.integers(0, 9999))
def test_a_decimal_is_read_back(whole: int, fraction: int) -> None:
    assert read_number(f"about {whole}.{fraction:04d}") == pytest.approx(float(f"{whole}.{fraction:04d}"))


CHOICES = [
    ("B", "B"),
    ("b", "B"),
    ("b.", "B"),
    ("(B)", "B"),
    ("[B]", "B"),
    ("**B**", "B"),
    ("B.", "B"),
    ("B) Monthly rent", "B"),
    ("B. Monthly rent", "B"),
    ("B.Monthly rent", "B"),
    ("B - Monthly rent", "B"),
    ("B: Monthly rent", "B"),
    ("**B.** Monthly rent", "B"),
    ("> B", "B"),
    ("Answer: B", "B"),
    ("answer: (b) is it", "B"),
    ("**Answer:** B", "B"),
    ("**Answer**: B", "B"),
    ("ANSWER: B.", "B"),
    ("The answer is B.", "B"),
    ("The correct answer is: B) Monthly rent", "B"),
    ("The correct option is (B) because A is wrong.", "B"),
    ("The answer is option B.", "B"),
    ("La respuesta correcta es B", "B"),
    ("La risposta è B.", "B"),
    ("Antwort: B", "B"),
    ("A is incorrect, so B is the correct choice.", "B"),
    ("I think it is B.", "B"),
    ("Option B", "B"),
    ("It's B, since rent does not depend on output.", "B"),
    ("The answer is A. Wait, no. The answer is B.", "B"),
    ("The answer is B) Monthly rent.\nA) Flour varies with output.", "B"),
    ('{"answer": "B"}', "B"),
    ("```\nB\n```", "B"),
    (r"$\boxed{B}$", "B"),
    (r"\boxed{\text{B}}", "B"),
    (r"\boxed{\text{B) Rent}}", "B"),
    ("A", "A"),
    ("A.", "A"),
    ("A) A chief executive officer", "A"),
    ("The answer is a matter of taste", None),
    ("A spider has eight legs", None),
    ("I am not sure", None),
    ("", None),
    ("A, B", None),
    ("A and B", None),
    ("A or B", None),
    ("Answer: A or B", None),
    ("The answer is A and B.", None),
    ("A) Flour\nB) Rent\nC) Packaging\nD) Fuel", None),
    ("A. Flour B. Rent C. Packaging D. Fuel", None),
    ("Monthly rent", None),
    ("It's neither A nor B", None),
]


@pytest.mark.parametrize(("reply", "letter"), CHOICES)
def test_the_chosen_letter_is_read(reply: str, letter: str | None) -> None:
    assert read_choice(reply) == letter


@given(
    st.sampled_from("ABCDEFGH"),
    st.sampled_from(["{}", "{}.", "({})", "**{}**", "Answer: {}", "The answer is {}."]),
)
def test_a_letter_is_read_back_in_every_usual_dress(letter: str, dress: str) -> None:
    assert read_choice(dress.format(letter)) == letter


@pytest.mark.parametrize(
    ("reply", "phrase"),
    [
        ("Canberra.", "canberra"),
        ("It is **Canberra**", "canberra"),
        ("NEW\nZEALAND", "new zealand"),
        ("who’s there?", "who's there"),
        ("the proton–proton chain", "proton-proton"),
        ("Garcia Ma\u0301rquez", "márquez"),
        ("STRASSE", "straße"),
        ("答えは東京です", "東京"),
        ("Лиссабон!", "лиссабон"),
        ("it costs 35% less", "35"),
        ("```python", "```"),
        ("CO₂", "co₂"),
        ("about 1,215 visitors", "1,215"),
    ],
)
def test_a_phrase_is_found_as_whole_words(reply: str, phrase: str) -> None:
    assert contains_phrase(reply, phrase)


@pytest.mark.parametrize(
    ("reply", "phrase"),
    [
        ("everyone", "very"),
        ("monopolistic", "monopoly"),
        ("team", "tea"),
        ("350", "35"),
        ("3.35", "35"),
        ("35,000", "35"),
        ("newzealand", "new zealand"),
        ("anything", ""),
        ("", "word"),
        ("vitamin d3", "vitamin d"),
    ],
)
def test_a_phrase_inside_another_word_or_number_does_not_count(reply: str, phrase: str) -> None:
    assert not contains_phrase(reply, phrase)


def test_inflected_forms_count_only_when_asked_for() -> None:
    assert contains_phrase("They launched it", "launch", inflected=True)
    assert not contains_phrase("They launched it", "launch")
    assert not contains_phrase("the team", "tea", inflected=True)
    assert not contains_phrase("1000s", "1000")


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("Paris.", "paris"),
        ('  "Paris"!  ', "paris"),
        ("“Paris.”", "paris"),
        ("**Paris**", "paris"),
        ("`2021-04-09`", "2021-04-09"),
        ("Answer: Paris", "paris"),
        ("The answer is: Paris.", "paris"),
        ("```\nParis\n```", "paris"),
        ("_ _ _ _ N", "_ _ _ _ n"),
        ("____n", "____n"),
        (r"\boxed{3/5}", "3/5"),
        (r"$\frac{3}{5}$", "3/5"),
        ("She  had\nwritten the letter.", "she had written the letter"),
        ("«Häuser»", "häuser"),
        ("...", ""),
    ],
)
def test_a_whole_reply_is_bared_of_its_dress(reply: str, left: str) -> None:
    assert bare(reply) == left


@given(st.text(max_size=200))
def test_folding_and_baring_twice_change_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert normalise(normalise(text)) == normalise(text)
    assert bare(text) == bare(text.upper().lower()) or not text.isascii()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", 0),
        ("- - -", 0),
        ("one", 1),
        ("well-known facts, mostly", 3),
        ("私は猫", 3),
        ("3 cats & 2 dogs", 4),
    ],
)
def test_words_are_counted(reply: str, words: int) -> None:
    assert count_words(reply) == words


OBJECTS = [
    ('{"a": 1}', [{"a": 1}]),
    (
        'Sure! Here it is:\n```json\n{"a": {"b": [1, {"c": 2}]}}\n```\nHope it helps {smile}',
        [{"a": {"b": [1, {"c": 2}]}}],
    ),
    ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
    ('{"a": "}{"} and {"b": 2}', [{"a": "}{"}, {"b": 2}]),
    ("{'a': 1}", []),
    ('{"a": NaN}', []),
    ('{"a": 1', []),
    ('{ not json {"a": 1}', [{"a": 1}]),
    ("no braces", []),
]


@pytest.mark.parametrize(("reply", "objects"), OBJECTS)
def test_json_objects_are_found_in_prose_and_fences(reply: str, objects: list[object]) -> None:
    assert read_objects(reply) == objects


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text(alphabet="abc .:\n[]", max_size=40))
def test_any_object_is_read_back_out_of_any_prose(value: dict[str, object], prose: str) -> None:
    assert read_objects(prose + json.dumps(value) + prose) == [value]


def test_fences_are_taken_off_even_when_they_never_close() -> None:
    assert unfenced("```text\none\ntwo\n```") == "one\ntwo"
    assert unfenced("before\n```\none\n```") == "before\n```\none\n```"
    assert fenced_blocks("Look:\n```Python\nx = 1\n") == [("python", "x = 1\n")]
    assert fenced_blocks("```js\na\n```\n\n```\nb\n```") == [("js", "a\n"), ("", "b\n")]


def test_code_is_found_in_fences_in_prose_and_under_backticks() -> None:
    assert (
        code_candidates("Sure:\n```python\ndef f():\n    return 1\n```\nDone.")[0]
        == "def f():\n    return 1\n"
    )
    assert code_candidates("Here you are.\ndef f():\n    return 1\n\nIt works.")[0].startswith("def f()")
    assert "def f():\n    return 1" in code_candidates("Here you are.\ndef f():\n    return 1\n\nIt works.")
    assert code_candidates("`def f(): return 1`")[0] == "def f(): return 1"


def test_code_in_another_language_or_no_code_gives_no_candidate() -> None:
    assert code_candidates("```javascript\nfunction f() {}\n```") == []
    assert code_candidates("I cannot do that.") == []


HOSTILE = {
    "braces": "{" * 60_000,
    "objects": '{"a":' * 20_000,
    "arrays": "[" * 60_000,
    "boxes": "\\boxed{" * 14_000,
    "box of braces": "\\boxed{" + "{}" * 30_000,
    "digits": "1" * 100_000,
    "groups": "1" + ",000" * 25_000,
    "dots": "1." * 50_000,
    "spaces": "answer" + " " * 90_000,
    "answers": "answer is " * 10_000,
    "answers in Chinese": "答" * 90_000,
    "pairs": "1" + ",11" * 30_000,
    "colons": "answer" + ":" * 90_000,
    "quotes": '"' * 100_000,
    "fences": "```\n" * 25_000,
    "letters": "A) " * 30_000,
    "hashes": "#" * 100_000,
    "lines": "\n" * 100_000,
    "bullets": "- " * 50_000,
    "marks": "*_(" * 33_000,
    "fractions": "\\frac{" * 16_000,
    "defs": "def f():\n" * 11_000,
    "combining": "a" + "\u0301" * 50_000,
    "powers": "2 x 10^" * 14_000,
    "signs": "-" * 100_000,
    "long": "x" * 5_000_000,
    "nul": "\0" * 1000,
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_replies_take_no_more_than_their_length_and_raise_nothing(name: str) -> None:
    reply = HOSTILE[name]

    for read in (read_number, read_choice, bare, count_words, read_objects, code_candidates, unfenced):
        assert grows_no_faster_than_linear(read, reply), read
    assert grows_no_faster_than_linear(
        lambda said: contains_phrase(said, "new zealand", inflected=True), reply
    )


@given(st.text(max_size=300))
def test_no_text_makes_a_reader_fail(text: str) -> None:
    read_number(text)
    read_choice(text)
    read_objects(text)
    code_candidates(text)
    contains_phrase(text, text[:10])
