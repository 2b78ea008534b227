"""Prompts go in front of a conversation, shared parts first, and leave it as it was."""

import copy
from typing import Any

import pytest

from prompts.mixture.demos import Demo
from prompts.mixture.layout import PLAIN, FewShotPrompt, Layout, lay_out

DEMOS = (Demo("2+2", "4"), Demo("3+3", "6"))
FULL = FewShotPrompt("Add the numbers.", DEMOS)
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "5+5"}]


def test_demos_are_turns_between_the_instruction_and_the_request() -> None:
    assert lay_out(FULL, ASKED, "turns") == [
        {"role": "system", "content": "Add the numbers."},
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "3+3"},
        {"role": "assistant", "content": "6"},
        {"role": "user", "content": "5+5"},
    ]


def test_a_block_shows_them_in_the_system_message() -> None:
    front, asked = lay_out(FULL, ASKED, "block")
    assert front["content"] == "Add the numbers.\n\nInput: 2+2\nOutput: 4\n\nInput: 3+3\nOutput: 6"
    assert asked == ASKED[0]


@pytest.mark.parametrize("layout", ["turns", "block"])
def test_the_plain_prompt_changes_nothing(layout: Layout) -> None:
    said = [{"role": "system", "content": "Be kind.", "name": "x"}, *ASKED]
    assert lay_out(PLAIN, said, layout) == said


def test_the_clients_system_message_follows_ours_in_one_message() -> None:
    said = [{"role": "developer", "content": "Be kind."}, *ASKED]
    assert lay_out(FewShotPrompt("Add."), said, "turns")[0] == {
        "role": "developer",
        "content": "Add.\n\nBe kind.",
    }
    parts = [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, *ASKED]
    assert [part["text"] for part in lay_out(FewShotPrompt("Add."), parts, "turns")[0]["content"]] == [
        "Add.",
        "Be kind.",
    ]
    empty = [{"role": "system", "content": None}, *ASKED]
    assert lay_out(FewShotPrompt("Add."), empty, "turns")[0]["content"] == "Add."


@pytest.mark.parametrize("layout", ["turns", "block"])
def test_the_callers_messages_are_left_alone(layout: Layout) -> None:
    said = [{"role": "system", "content": [{"type": "text", "text": "x"}]}, *ASKED]
    before = copy.deepcopy(said)
    lay_out(FULL, said, layout)
    assert said == before


@pytest.mark.parametrize("layout", ["turns", "block"])
def test_two_requests_of_a_region_begin_alike(layout: Layout) -> None:
    for text in ("1+1", "7+8"):
        *shared, asked = lay_out(FULL, [{"role": "user", "content": text}], layout)
        assert (shared, asked["content"]) == (lay_out(FULL, [], layout), text)
