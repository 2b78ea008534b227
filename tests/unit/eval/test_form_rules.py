"""Rules on the form of a reply hold and fail where a person would say so."""

import pytest
from pydantic import ValidationError

from eval.form_rules import FormRule, count_sentences, is_met


def met(rule: dict[str, object], reply: str) -> bool:
    return is_met(FormRule.model_validate(rule), reply)


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        ({"max_words": 3}, "one two three"),
        ({"min_words": 3}, "one two three"),
        ({"lines": 3}, "The pond\n\nis frozen\n  \nover"),
        ({"lines": 2}, "```\none\ntwo\n```"),
        ({"max_lines": 2}, "one\ntwo"),
        ({"bullets": 3}, "- one\n* two\n• three"),
        ({"bullets": 2}, "Here:\n- **one**\n-two"),
        ({"sentences": 2}, "It is late. We go!"),
        ({"sentences": 1}, "no punctuation at all"),
        ({"includes": ["dawn", "River"]}, "At DAWN the rivers rise"),
        ({"includes": ["35 cm"]}, "It is 35 cm long."),
        ({"includes": ["Drizzle & Daughters"]}, "Drizzle & Daughters!"),
        ({"excludes": ["very"]}, "every bakery"),
        ({"excludes": ["```", "def "]}, "Hello, defenders!"),
        ({"starts_with": "Dear"}, "Dear Ms. Okafor"),
        ({"starts_with": "Very good, sir"}, "**Very good, sir.** It is packed."),
        ({"starts_with": "Dawn"}, '"Dawn breaks"'),
        ({"ends_with": "?"}, 'She asked: "Why?"'),
        ({"ends_with": "Tom"}, "Yours, Tom."),
        ({"ends_with": "zorp."}, "Splendid, zorp."),
        ({"ends_with": "and so the town awoke."}, "...\nAnd so the town awoke."),
        ({"language": "de"}, "Im Herbst fallen die Blätter von den Bäumen. Es wird kühl."),
    ],
)
def test_a_rule_is_met(rule: dict[str, object], reply: str) -> None:
    assert met(rule, reply)


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        ({"max_words": 3}, "one two three four"),
        ({"min_words": 3}, "one two"),
        ({"lines": 3}, "one\ntwo"),
        ({"max_lines": 1}, "one\ntwo"),
        ({"bullets": 2}, "- one\n- two\n- three"),
        ({"bullets": 1}, "**bold** is no bullet"),
        ({"bullets": 1}, "---\nrule"),
        ({"sentences": 1}, "One. Two."),
        ({"includes": ["tea"]}, "our team"),
        ({"includes": ["dawn", "river"]}, "dawn"),
        ({"excludes": ["very"]}, "Very well"),
        ({"excludes": ["```"]}, "```\ncode\n```"),
        ({"starts_with": "Dear"}, "Hello, dear"),
        ({"ends_with": "?"}, "Why? Because."),
        ({"ends_with": "Tom"}, "at the bottom"),
        ({"language": "de"}, "In autumn the leaves fall from the trees."),
    ],
)
def test_a_rule_is_broken(rule: dict[str, object], reply: str) -> None:
    assert not met(rule, reply)


@pytest.mark.parametrize("reply", ["", "   ", "...", "```\n```", "🙂"])
@pytest.mark.parametrize(
    "rule", [{"max_words": 40}, {"excludes": ["very"]}, {"max_lines": 3}, {"max_words": 0}]
)
def test_a_reply_without_words_meets_no_rule(rule: dict[str, object], reply: str) -> None:
    assert not met(rule, reply)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"max_words": 3, "min_words": 1},
        {"max_words": "3"},
        {"max_words": -1},
        {"max_words": None},
        {"includes": []},
        {"includes": [" "]},
        {"includes": "dawn"},
        {"words": 3},
        {"language": "xx"},
    ],
)
def test_what_is_no_rule_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FormRule.model_validate(rule)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dear Ms. Okafor, your order is late. Sorry!", 2),
        ("It costs 3.50 euros.", 1),
        ("Wait... what?! No.", 3),
        ("1. First point\n2. Second point", 2),
        ("これは本です。あれは猫です。", 2),
        ('He said "Stop." Then he left.', 2),
        ("e.g. apples and pears", 1),
        ("", 0),
    ],
)
def test_sentences_are_counted(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("你好！我是助手。有什么可以帮您？", 3),
        ("すごい!本当に?はい。", 3),
        ("彼は「待って。」と言った。", 2),
        ("यह ठीक है। धन्यवाद।", 2),
        ("هل هذا صحيح؟ نعم.", 2),
        ("It costs 3.5 million. Really!", 2),
    ],
)
def test_sentences_of_other_scripts_end_with_their_own_marks(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


def test_a_last_word_is_whole_but_for_scripts_without_blanks() -> None:
    assert is_met(FormRule(ends_with="東京"), "日本の首都は東京。")
    assert is_met(FormRule(ends_with="Paris"), "答案是Paris。")
    assert not is_met(FormRule(ends_with="art"), "We had a party art-start")
