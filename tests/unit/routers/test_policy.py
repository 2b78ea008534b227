"""Rules take what they name and nothing else; impossible policies are refused."""

import re
from dataclasses import replace
from typing import Any

import pytest

from routers.policy import Policy, Rule, match_rules
from routers.request import Turn
from tests.unit.routers.world import request


def matches(rule: Rule, text: str, **facts: Any) -> bool:
    return rule.matches(request(turns=(Turn("user", text),), **facts))


def rule(**conditions: Any) -> Rule:
    return Rule("r", expert="small", **conditions)


@pytest.mark.parametrize(
    "text", ["invoice", "My INVOICE, please", "an (invoice)", "invoice.pdf", "where's the\ninvoice?"]
)
def test_a_keyword_is_found_as_a_whole_word_in_any_case(text: str) -> None:
    assert matches(rule(keywords=("invoice",)), text)


@pytest.mark.parametrize("text", ["invoices", "preinvoice", "invoice_7", "in voice", ""])
def test_a_keyword_inside_another_word_is_not_found(text: str) -> None:
    assert not matches(rule(keywords=("invoice",)), text)


@pytest.mark.parametrize(
    ("keyword", "text"), [("c++", "I like C++."), (".net", "use .NET here"), ("a.b", "a.b")]
)
def test_a_keyword_is_taken_literally(keyword: str, text: str) -> None:
    assert matches(rule(keywords=(keyword,)), text)
    assert not matches(rule(keywords=("a.b",)), "axb")


def test_keywords_of_other_scripts_have_word_boundaries_too() -> None:
    assert matches(rule(keywords=("счёт",)), "Где мой Счёт?")
    assert not matches(rule(keywords=("счёт",)), "счётчик")


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("发票", "我需要开发票"),
        ("發票", "請開發票給我"),
        ("python", "用python写函数"),
        ("python", "用Ｐｙｔｈｏｎ写函数"),
        ("用python", "请用Python写"),
        ("c++", "用C++写"),
        (".net", "使用.NET开发"),
        ("42", "第42条"),
        ("カード", "クレジットカードを作りたい"),
        ("ｶｰﾄﾞ", "カードを作る"),
        ("請求書", "請求書PDFを送って"),
        ("ใบแจ้งหนี้", "ขอใบแจ้งหนี้หน่อยครับ"),
        ("sql", "ช่วยเขียนSQLให้หน่อย"),
        ("ຫນັງສື", "ຂຽນຫນັງສືໃຫ້ຂ້ອຍ"),
        ("វិក្កយបត្រ", "ខ្ញុំត្រូវការវិក្កយបត្រថ្មី"),
        ("ငွေတောင်းခံလွှာ", "ကျွန်တော်ငွေတောင်းခံလွှာလိုချင်"),
        ("송장", "송장을 보내 주세요"),
        ("환불", "환불해 주세요"),
        ("python", "python으로 작성해 줘"),
        ("2024", "2024년에"),
        ("कमी", "पानी की कमी है"),
        ("straße", "HAUPTSTRASSE, STRASSE"),
        ("istanbul", "İSTANBUL'DA"),
        ("café", "un cafe\u0301, merci"),
        ("art", "l’art moderne"),
        ("don't", "I don’t know"),
        ("كتاب", "كِتَاب جديد"),
        ("发票", "发\u200b票"),
        ("💰", "need💰now"),
        ("python 3", "用Python　3写"),
    ],
)
def test_a_keyword_is_found_in_every_script(keyword: str, text: str) -> None:
    assert matches(rule(keywords=(keyword,)), text)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("art", "party"),
        ("art", "用party写"),
        ("python", "用python3写"),
        ("c++", "c++11"),
        (".net", "example.net"),
        ("фото", "фотограф"),
        ("कम", "कमी है"),
        ("कर", "करना"),
        ("cafe", "cafe\u0301"),
        ("사과", "사과나무"),
        ("กา", "เกาหลี"),
        ("か", "ありがとう"),
        ("don", "I don’t know"),
        ("发票", "发货"),
    ],
)
def test_a_keyword_is_not_found_inside_a_word_of_any_script(keyword: str, text: str) -> None:
    assert not matches(rule(keywords=(keyword,)), text)


def test_any_of_the_keywords_will_do() -> None:
    assert matches(rule(keywords=("refund", "money back")), "I want my Money Back")


def test_a_pattern_is_searched_anywhere() -> None:
    account = rule(pattern=re.compile(r"\bDE\d{4}\b"))
    assert matches(account, "send it to DE1234 today")
    assert not matches(account, "send it to de1234 today")


def test_attributes_must_be_equal() -> None:
    team = rule(attributes={"x-team": "legal"})
    assert matches(team, "hi", attributes={"x-team": "legal", "host": "a"})
    assert not matches(team, "hi", attributes={"x-team": "legally"})
    assert not matches(team, "hi")


def test_every_condition_must_hold() -> None:
    both = rule(keywords=("urgent",), attributes={"api_key": "desk"})
    assert matches(both, "urgent!", attributes={"api_key": "desk"})
    assert not matches(both, "urgent!", attributes={"api_key": "other"})
    assert not matches(both, "later", attributes={"api_key": "desk"})


def test_rules_read_what_the_person_said_last_and_not_what_a_tool_returned() -> None:
    turns = (
        Turn("user", "weather?"),
        Turn("user", "my invoice?"),
        Turn("assistant", "looking"),
        Turn("tool", "{}"),
    )
    assert rule(keywords=("invoice",)).matches(request(turns=turns))
    assert not rule(keywords=("weather",)).matches(request(turns=turns))


def test_a_request_without_any_turn_matches_no_keyword() -> None:
    assert not rule(keywords=("hello",)).matches(request(turns=()))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"keywords": ("a",)}, "either an expert or a category"),
        ({"keywords": ("a",), "expert": "e", "category": "c"}, "either an expert or a category"),
        ({"expert": "e"}, "no condition"),
        ({"expert": "e", "attributes": {}}, "no condition"),
        ({"expert": "e", "keywords": ("a", " ")}, "empty keyword"),
        ({"expert": "e", "keywords": ("a", "\u200b")}, "empty keyword"),
    ],
)
def test_a_rule_that_takes_nothing_or_everything_is_refused(conditions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"rule 'mine': .*{message}"):
        Rule("mine", **conditions)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", -0.1),
        ("threshold", float("nan")),
        ("ood_threshold", 1.1),
        ("active_weight", -1),
        ("cost_weight", float("inf")),
        ("switch_cost", -0.01),
        ("recent_turns", 0),
    ],
)
def test_an_impossible_policy_is_refused_by_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"policy: {field} must be"):
        Policy(generalist="small", **{field: value})  # type: ignore[arg-type]


def test_each_rule_is_matched_once_for_who_answers_and_how() -> None:
    rules = (
        Rule("how", keywords=("sue",), strategy="panel"),
        Rule("who", keywords=("sue",), expert="small"),
        Rule("both", keywords=("sue",), category="law", strategy="chain"),
    )
    asked = request(turns=(Turn("user", "Can I sue?"),))
    found = match_rules(rules, asked)
    assert (found.target, found.strategy) == (rules[1], rules[0])
    pinned = match_rules(rules, replace(asked, pinned_expert="large"))
    assert (pinned.target, pinned.strategy) == (None, rules[0])
