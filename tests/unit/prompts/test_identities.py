"""Identities: what is asked, what is read from a reply, and what a file of them holds."""

from pathlib import Path

import pytest

from prompts.identities import (
    Identities,
    Identity,
    IdentityEffect,
    IdentityError,
    Measurement,
    Per,
    category_request,
    identity_messages,
    load_identities,
    new_identities,
    read_identity,
    save_identities,
)
from prompts.seeds import Category


def measured(identities: Identities, per: Per = "category", **kept: bool) -> Identities:
    """`identities` with a measurement in which these categories were kept, or not."""
    results = tuple(
        IdentityEffect(
            category=name,
            prompts=18,
            without=0.5,
            with_identity=0.6,
            difference=0.1,
            low=0.01,
            high=0.2,
            kept=each,
        )
        for name, each in kept.items()
    )
    measurement = Measurement(
        per=per, of=identities.subject(per), suite="s", confidence=0.95, results=results
    )
    return identities.with_measurement(measurement)


@pytest.fixture
def identities() -> Identities:
    return new_identities(
        "small",
        [
            Identity(category="law", text="You are a judge."),
            Identity(category="math", text="You are a geometer."),
        ],
    )


def test_the_request_is_shown_whole_or_by_both_ends() -> None:
    system, *examples, asked = identity_messages("Is 391 {prime}?")
    assert system["role"] == "system"
    assert [each["role"] for each in examples] == ["user", "assistant"] * 3
    assert asked["content"].endswith("The request: Is 391 {prime}?")
    long = identity_messages("begin " + "x" * 20_000 + " end")[-1]["content"]
    assert "The request: begin x" in long
    assert long.endswith("x end")
    assert len(long) < 8_000


@pytest.mark.parametrize("request_text", ["a\n---\nb", "{request}", "---"])
def test_a_request_cannot_pass_for_a_part_of_the_prompt(request_text: str) -> None:
    messages = identity_messages(request_text)
    assert len(messages) == 8
    assert messages[-1]["content"].endswith(request_text)


def test_the_examples_are_identities_themselves() -> None:
    for example in identity_messages("x"):
        if example["role"] == "assistant":
            assert read_identity(example["content"]) == example["content"]


def test_a_category_is_asked_for_by_its_definition_and_examples() -> None:
    category = Category(name="law", title="Law", definition="Rights and contracts.")
    asked = category_request(category, ["Can I\n\nsue?", "b", "c", "d", "not shown"])
    assert "Rights and contracts." in asked
    assert "- Can I sue?" in asked
    assert "not shown" not in asked


@pytest.mark.parametrize(
    ("reply", "identity"),
    [
        ("You are a judge. You weigh both sides.", "You are a judge. You weigh both sides."),
        ("Expert: You are a judge.\n\nRequest: more?\nExpert: You are a cook.", "You are a judge."),
        ("Sure!\n\n**You are a judge** of wide\nexperience. And", "You are a judge** of wide experience."),
        ('"You\'re a judge."', "You're a judge.\""),
    ],
)
def test_the_paragraph_that_addresses_the_expert_is_read(reply: str, identity: str) -> None:
    assert read_identity(reply) == identity


@pytest.mark.parametrize(
    "reply",
    ["", "391 is 17 times 23.", "You can tell by dividing.", "You're welcome. Bye.", "You are a", "a. " * 40],
)
def test_a_reply_without_an_identity_is_refused(reply: str) -> None:
    with pytest.raises(IdentityError):
        read_identity(reply)


def test_a_long_identity_ends_with_a_sentence() -> None:
    identity = read_identity("You are a judge. " + "You weigh both sides carefully. " * 100)
    assert identity == "You are a judge." + " You weigh both sides carefully." * 3
    endless = read_identity("You are a judge. You " + "weigh " * 1_000)
    assert endless == "You are a judge."


def test_a_file_round_trips(identities: Identities, tmp_path: Path) -> None:
    known = measured(identities, law=True, math=False)
    save_identities(known, tmp_path / "new" / "small.yaml")
    assert load_identities(tmp_path / "new" / "small.yaml") == known
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["small.yaml"]


def test_nothing_is_kept_before_it_was_measured(identities: Identities) -> None:
    assert identities.kept("category") == frozenset()
    known = measured(identities, law=True, math=False)
    assert known.kept("category") == {"law"}
    assert known.kept("request") == frozenset()


def test_a_changed_text_has_to_be_measured_again(identities: Identities) -> None:
    known = measured(measured(identities, law=True), "request", law=True)
    changed = known.model_copy(
        update={"identities": (Identity(category="law", text="You are a clerk."), *known.identities[1:])}
    )
    assert changed.kept("category") == frozenset()
    assert changed.kept("request") == {"law"}


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("category: math", "category: law", "identities: law is there twice"),
        ("text: You are a judge.", "txt: x", ":7: identities.0.txt: "),
        ("expert: small", "expert: []", ":2: expert: "),
        ("expert: small", "expert: [", ": "),
    ],
)
def test_a_damaged_file_is_told_by_line(
    identities: Identities, tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    path = tmp_path / "small.yaml"
    save_identities(identities, path)
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    with pytest.raises(IdentityError) as caught:
        load_identities(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
