"""Messages under the rules of chat templates: nothing is lost, and the order stays."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.message_rules import OPENING_TEXT, MessageRule, follow

S, LATER = {"role": "system", "content": "S"}, {"role": "system", "content": "Answer only BLUE."}
HI, ANSWER, ASK = (
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "what?"},
)
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "5"}
AS_USER = {"role": "user", "content": "Answer only BLUE."}


def test_developer_is_system_for_every_server() -> None:
    assert follow((), [{"role": "developer", "content": "S"}, HI]) == [S, HI]
    assert follow((), [5, HI]) == [5, HI]


@pytest.mark.parametrize(
    ("rules", "messages", "found"),
    [
        (["system_first"], [S, HI, ANSWER, LATER, ASK], [S, HI, ANSWER, AS_USER, ASK]),
        (["system_first"], [S, LATER, HI], [{"role": "system", "content": "S\n\nAnswer only BLUE."}, HI]),
        (["system_first"], [HI, CALL, LATER, RESULT, ANSWER], [HI, CALL, RESULT, AS_USER, ANSWER]),
        (["system_first"], [HI, LATER], [HI, AS_USER]),
        (["no_system"], [S, HI, ANSWER], [{"role": "user", "content": "S\n\nhi"}, ANSWER]),
        (["no_system"], [S, ANSWER, ASK], [{"role": "user", "content": "S"}, ANSWER, ASK]),
        (
            ["no_system"],
            [S, {"role": "user", "content": [{"type": "image_url"}]}],
            [{"role": "user", "content": [{"type": "text", "text": "S"}, {"type": "image_url"}]}],
        ),
        (
            ["system_first", "alternating_roles"],
            [S, HI, ANSWER, LATER, ASK],
            [S, HI, ANSWER, {"role": "user", "content": "Answer only BLUE.\n\nwhat?"}],
        ),
        (["alternating_roles"], [ANSWER, HI], [{"role": "user", "content": OPENING_TEXT}, ANSWER, HI]),
        (["alternating_roles"], [HI, CALL, RESULT, ANSWER, ASK], [HI, CALL, RESULT, ANSWER, ASK]),
        (["alternating_roles"], [HI, ANSWER, CALL], [HI, {**CALL, "content": "hello"}]),
        (
            ["text_content"],
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            [{"role": "user", "content": "a\nb"}],
        ),
        (["text_content"], [{"role": "user", "content": [{"type": "image_url"}]}], None),
        (["content_required"], [HI, CALL], [HI, {**CALL, "content": ""}]),
        ([], [HI, S, HI], None),
    ],
)
def test_a_rule_changes_what_it_is_about(
    rules: list[MessageRule], messages: list[Any], found: list[Any] | None
) -> None:
    assert follow(rules, messages) == (messages if found is None else found)


turn = st.sampled_from(["system", "developer", "user", "assistant"])


@given(st.lists(turn, min_size=1, max_size=8))
def test_no_text_is_lost_and_the_roles_are_as_asked(roles: list[str]) -> None:
    messages = [{"role": role, "content": f"<{number}>"} for number, role in enumerate(roles)]
    first = follow(["system_first"], messages)
    assert "system" not in [each["role"] for each in first[1:]]
    strict = follow(["no_system", "alternating_roles"], messages)
    said = ["user" if number % 2 == 0 else "assistant" for number in range(len(strict))]
    assert [each["role"] for each in strict] == said
    for found in (first, strict):
        text = " ".join(each["content"] for each in found)
        assert [text.count(each["content"]) for each in messages] == [1] * len(messages)
