"""Operators' rules are read as they are meant; whatever cannot hold is refused by file and line."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.serving.operator_rules import RulesError, load_rules
from routers.decide import decide
from routers.decision import Reason
from routers.policy import PATTERN_READS, Policy, Rule
from routers.request import Request, Turn
from tests.unit.routers.world import composition

EXPERTS, CATEGORIES, LABELS = ("small", "coder", "large"), ("coding", "law", "smalltalk"), ("desk",)

WHOLE = r"""
rules:
  - name: invoices
    keywords: [invoice, money back]
    language: [de, fr]
    headers: {X-Team: billing}
    api_key: desk
    expert: large
  - name: accounts
    pattern: '\bDE\d{4}\b'
    category: law
"""


def rules(folder: Path, text: str) -> tuple[Rule, ...]:
    (folder / "rules.yaml").write_text(text, encoding="utf-8")
    return load_rules(folder / "rules.yaml", EXPERTS, CATEGORIES, LABELS)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(RulesError) as caught:
        rules(folder, text)
    return str(caught.value).removeprefix(f"{folder}/")


def asked(text: str, **attributes: str) -> Request:
    return Request("r", (Turn("user", text),), attributes=attributes)


def test_every_condition_of_the_file_becomes_one_of_the_rule(tmp_path: Path) -> None:
    invoices, accounts = rules(tmp_path, WHOLE)
    assert (invoices.name, invoices.expert, invoices.languages) == ("invoices", "large", ("de", "fr"))
    assert invoices.keywords == ("invoice", "money back")
    assert invoices.attributes == {"x-team": "billing", "api_key": "desk"}
    assert accounts.category == "law"
    assert accounts.matches(asked("send it to DE1234"))


def test_one_keyword_or_language_needs_no_list(tmp_path: Path) -> None:
    (rule,) = rules(tmp_path, "rules: [{name: a, keywords: invoice, language: DE, expert: small}]")
    assert (rule.keywords, rule.languages) == (("invoice",), ("de",))


@pytest.mark.parametrize("text", ["", "rules: []", "# nothing yet"])
def test_a_file_without_rules_is_none(tmp_path: Path, text: str) -> None:
    assert rules(tmp_path, text) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  - name: a\n    keywords: [x]\n    expert: smal", "rules.yaml:4: expert: .*mean small"),
        ("rules:\n  - name: a\n    keywords: [x]\n    category: cooking", "rules.yaml:4: category: .*coding"),
        ("rules:\n  - name: a\n    api_key: desc\n    expert: small", "rules.yaml:3: api_key: .*mean desk"),
        ("rules:\n  - name: a\n    pattern: '('\n    expert: small", "rules.yaml:3: pattern: no regular"),
        ("rules:\n  - name: a\n    language: tlh\n    expert: small", "rules.yaml:2: .*no language 'tlh'"),
        (
            "rules:\n  - name: a\n    keyword: [x]\n    expert: small",
            "rules.yaml:3: 0.keyword: unknown field",
        ),
        ("rules:\n  - name: a\n    expert: small", "rules.yaml:2: .*no condition"),
        ("rules:\n  - name: a\n    keywords: [x]", "rules.yaml:2: .*expert or a category"),
        ("rules:\n  - keywords: [x]\n    expert: small", "rules.yaml:2: 0.name: Field required"),
        (
            "rules:\n  - name: a\n    headers: {Authorization: x}\n    expert: small",
            "rules.yaml:2: .*Authorization",
        ),
        (
            "rules:\n  - name: a\n    headers: {api_key: x}\n    expert: small",
            "rules.yaml:2: 0: match on api_key",
        ),
        (
            "rules:\n  - {name: a, keywords: x, expert: small}\n  - {name: a, keywords: y, expert: small}",
            "rules.yaml:3: name: 'a' .*line 2",
        ),
        ("- name: a", "rules.yaml:1: expected `rules:`"),
        ("rules: [", "rules.yaml:1: "),
        ("rules:\n  - name: a\n    name: b", "rules.yaml:3: name: written twice"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    assert re.match(message, refusal(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"nowhere.yaml: no such file"):
        load_rules(tmp_path / "nowhere.yaml", EXPERTS, CATEGORIES, LABELS)


def test_a_language_rule_takes_what_is_written_in_it(tmp_path: Path) -> None:
    (rule,) = rules(tmp_path, "rules: [{name: a, language: [de, ja], expert: small}]")
    assert rule.matches(asked("Können Sie mir bitte sagen, wann der nächste Zug nach Hamburg fährt?"))
    assert rule.matches(asked("今日は天気がいいので、公園に行きます。"))
    assert not rule.matches(asked("Can you tell me when the next train to Hamburg leaves?"))
    assert not rule.matches(asked("42"))


def test_a_pattern_is_given_both_ends_of_a_long_turn_and_keywords_all_of_it(tmp_path: Path) -> None:
    pattern, keyword = rules(
        tmp_path,
        "rules: [{name: a, pattern: 'DE1', expert: small}, {name: b, keywords: secret, expert: small}]",
    )
    filler = "x " * PATTERN_READS
    assert pattern.matches(asked(filler + filler + "DE1"))
    assert pattern.matches(asked("DE1" + filler + filler))
    assert not pattern.matches(asked(filler + "DE1 " + filler))
    assert keyword.matches(asked(filler + "secret " + filler))


@given(
    word=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_a_rule_decides_if_and_only_if_it_matches(word: str, before: str, after: str) -> None:
    policy = Policy(generalist="large", rules=(Rule("mine", keywords=(word,), expert="coder"),))
    request = asked(f"{before} {word} {after}")
    decision = decide(request, composition(), policy)
    assert (decision.expert, decision.reason) == ("coder", Reason.RULE)
    assert decision == decide(request, composition(), policy)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_the_file_holds_it_is_read_or_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    folder = tmp_path_factory.mktemp("rules")
    try:
        rules(folder, yaml.safe_dump({"rules": document}, allow_unicode=True))
    except RulesError as error:
        assert "rules.yaml:" in str(error)


def test_a_rule_may_name_a_strategy_alone_or_beside_an_expert(tmp_path: Path) -> None:
    first, second = rules(
        tmp_path,
        "rules:\n  - {name: a, keywords: hard, strategy: panel}\n"
        "  - {name: b, keywords: hard, expert: large, strategy: chain}",
    )
    assert (first.strategy, first.chooses) == ("panel", False)
    assert (second.strategy, second.chooses) == ("chain", True)
    # Who answers is the second's to say: the first leaves it open.
    policy = Policy(generalist="large", rules=(first, second))
    decision = decide(asked("a hard one"), composition(), policy)
    assert (decision.expert, decision.reason) == ("large", Reason.RULE)


def test_an_unknown_strategy_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules:\n  - name: a\n    keywords: x\n    strategy: panl\n")
    with pytest.raises(RulesError, match=r"rules.yaml:4: strategy: there is no strategy 'panl'"):
        load_rules(tmp_path / "rules.yaml", EXPERTS, CATEGORIES, LABELS, ("single", "panel"))
