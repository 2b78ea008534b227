"""Rewordings leave alone what carries the meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.variants import KINDS, protected_spans, variant_of

TEXT = (
    "Please explain why this colour isn't printed. Write the reason.\n\n"
    "```python\nprint('the colour is not')\n```\n\n"
    'It says "do not write the colour" at line 42 of main_file.py.'
)
LETTERS = ("typos", "British or American", "contractions", "synonyms", "lower case, no punctuation")
"""Kinds that change words."""
FRAMES = ("preamble", "question and answer", "chat template", "Markdown fence", "XML tags")
texts = st.text(st.sampled_from("abc Write not.,?\"'`$0123456789\n{}=AZ…é "), max_size=80) | st.text(
    max_size=80
)


@given(texts, st.sampled_from(sorted(KINDS)), st.integers(0, 3))
def test_a_variant_is_the_same_every_time_and_never_empty(text: str, kind: str, seed: int) -> None:
    found = variant_of(text, kind, seed)
    assert found == variant_of(text, kind, seed)
    assert found is None or (found.strip() and found != text)


@given(texts, st.sampled_from(LETTERS), st.integers(0, 3))
def test_what_is_protected_stays_in_its_order(text: str, kind: str, seed: int) -> None:
    found = variant_of(text, kind, seed) or text
    at = 0
    for start, end in protected_spans(text):
        at = found.index(text[start:end], at) + end - start


@given(texts.filter(str.strip), st.sampled_from(FRAMES))
def test_a_template_holds_the_whole_request(text: str, kind: str) -> None:
    assert text in (variant_of(text, kind) or "")


@pytest.mark.parametrize("kind", [*LETTERS, "Unicode punctuation", "white space"])
def test_code_quotes_and_numbers_are_protected(kind: str) -> None:
    found = variant_of(TEXT, kind)
    assert found is not None
    for kept in ("print('the colour is not')", "do not write the colour", "42", "main_file.py"):
        assert kept in found


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("My favourite colour.", "British or American", "My favorite color."),
        ("It is late.", "contractions", "It's late."),
        ("Don't go.", "contractions", "Do not go."),
        ("Write 214 in base 6", "synonyms", None),
        ("I have a cat. Why is it sad?", "sentences moved", "Why is it sad? I have a cat."),
        ("Pick:\nA. one\nB. all of the above\nC. two", "options moved", None),
        (f"Sum up:\n\n{'word ' * 60}", "instruction moved", f"{('word ' * 60).strip()}\n\nSum up:"),
        ('Say "hi" - it\'s ok', "Unicode punctuation", "Say “hi” – it’s ok"),
    ],
)
def test_each_kind_changes_what_it_says(text: str, kind: str, expected: str | None) -> None:
    assert variant_of(text, kind) == expected


def test_options_move_and_letters_stay() -> None:
    found = variant_of("Which?\nA. red\nB. green\nC. blue\nD. pink", "options moved")
    assert found is not None
    lines = found.splitlines()
    assert [line[:2] for line in lines[1:]] == ["A.", "B.", "C.", "D."]
    assert sorted(line[3:] for line in lines[1:]) == ["blue", "green", "pink", "red"]
