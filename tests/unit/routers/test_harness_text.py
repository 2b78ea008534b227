"""What a harness wraps around a request is told from what the person asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.conversation import EARLIER_CHARACTERS, latest_user_text, routing_text, text_with_pasted
from routers.harness_text import user_words, without_harness
from routers.request import Turn
from tests.growth import grows_no_faster_than_linear

NOTES = "Calendar notes: contract review with the lawyers at nine, invoice run at noon. " * 6
REMINDER = f"<system-reminder>\n{NOTES}\n</system-reminder>"
ASK = "Why does the parser fail?"
FILE = '<file path="parser.py">\ndef parse(): ...\n</file>'


@pytest.mark.parametrize(
    "harness",
    [
        REMINDER,
        REMINDER.upper(),
        f'<system-reminder kind="calendar" at=9>\n{NOTES}\n</system-reminder>',
        f"<system-reminder>a\n{REMINDER}\nb</system-reminder>",
        f"<system_reminder>{NOTES}</system_reminder>",
        f"<reminderInstructions>\n{NOTES}\n</reminderInstructions>",
        "<environment_context>\n  <cwd>/srv</cwd>\n  <shell>zsh</shell>\n</environment_context>",
        "<environment_details>\n# Open tabs\nparser.py\n</environment_details>",
        "<user_instructions>\nUse tabs.\n</user_instructions>",
        "# AGENTS.md instructions for /srv\n\n<INSTRUCTIONS>\nUse tabs.\n```sh\nmake\n```\n</INSTRUCTIONS>",
        "<ide_opened_file>The user opened parser.py in the IDE.</ide_opened_file>",
        "<command-message>review is running</command-message>\n<command-name>/review</command-name>",
        "<local-command-stdout>\nSet model.\n</local-command-stdout>",
        "<open_and_recently_viewed_files>\n- parser.py\n</open_and_recently_viewed_files>",
        "<git_status>\n M parser.py\n</git_status>",
        "<tool_result>\nError: no such file\n</tool_result>",
        "<memories>\nThe user likes tabs.\n</memories>",
        "gitStatus: This is the git status now.\nCurrent branch: main\n\nStatus:\n M a.py\n?? b.py\n\n"
        "Recent commits:\n0a1b2c3 Parse\n",
        "On branch main\nChanges not staged for commit:\n\tmodified:   parser.py\n",
        "[Request interrupted by user for tool use]",
    ],
)
def test_harness_text_is_not_asked(harness: str) -> None:
    assert user_words(harness).said == ""
    assert without_harness(harness) == ""
    for text in (f"{harness}\n{ASK}", f"{ASK}\n{harness}", f"{harness}\n{ASK}\n{REMINDER}"):
        if "AGENTS.md" in text and text.endswith(REMINDER):
            continue
        assert user_words(text).said == ASK
    earlier = [Turn("user", ASK), Turn("assistant", "Let me look."), Turn("user", harness)]
    assert latest_user_text(earlier) == ASK
    assert routing_text(earlier) == ASK


@pytest.mark.parametrize(
    "harness",
    [
        "[read_file for 'parser.py'] Result:\n1 | def parse(): ...",
        "# TODO LIST UPDATE REQUIRED - You must include it.\n- [ ] Parse",
        "Contents of /srv/CLAUDE.md (project instructions):\n\nUse tabs.",
        "## /srv/AGENTS.md\n\n<INSTRUCTIONS>\nUse tabs.\n</INSTRUCTIONS>",
    ],
)
def test_what_a_known_line_introduces_is_not_asked(harness: str) -> None:
    assert user_words(harness).said == ""
    assert user_words(f"{ASK}\n{harness}").said == ASK


@pytest.mark.parametrize(
    "text",
    [
        "# TODO LIST\n- buy milk\n- call Ann\n\nSort this by priority, please.",
        "## AGENTS.md\nWrite one for a Rust repository.",
        "# CLAUDE.md is ignored, why?\nI use version 2.",
        "Contents of CLAUDE.md should be in English, rewrite them: Bonjour.",
        "[docs] Result:\n5 of 6 passed. Why?",
        "What does <system-reminder> mean?",
        "<system-reminder> keeps coming up in my logs, what is it?",
        "Is <command-name>x</command-name> documented anywhere?",
        "Explain this:\n```xml\n<environment_context>\n  <cwd>/srv</cwd>\n</environment_context>\n```",
        "Does Vec<String> own its buffer, or Box<T>?",
        "<div>\n<p>text</p>\n</div>\nWhy is this not centred?",
        "<b>Hello</b>",
        "template\n<typename T>\nvoid f(T);\nWhy does this not compile?",
        "if a < b and c > d: print('<ok>')",
    ],
)
def test_a_person_may_speak_of_tags_and_files(text: str) -> None:
    assert user_words(text).said == text
    assert routing_text([Turn("user", text)]) == text


@pytest.mark.parametrize(
    "text",
    [
        f"<user_query>\n{ASK}\n</user_query>",
        f"<additional_data>\n<current_file>parser.py</current_file>\n</additional_data>\n<user_query>{ASK}</user_query>",
        f"<task>\n{ASK}\n</task>\n<environment_details>\nx\n</environment_details>",
        f"<context>\nMonday.\n</context>\n<userRequest>\n{ASK}\n</userRequest>",
        f"<command-name>/fix</command-name>\n<command-args>{ASK}</command-args>",
        f"<USER_REQUEST>\n{ASK}\n</USER_REQUEST>",
        f"<system-reminder>\nnever closed\n<user_query>\n{ASK}\n</user_query>",
        f"{ASK} <system-reminder>{NOTES}</system-reminder>",
        f"{FILE}\n{ASK}",
        f"# Context from my IDE setup:\n\n## Open tabs:\n- a.py: a.py\n\n## My request for Codex:\n{ASK}\n",
        f"### Task:\nAnswer by the sources, with citations.\n<context>\n<source id='1'>{NOTES}</source>\n"
        f"</context>\n<user_query>{ASK}</user_query>\nDo not mention the sources.",
        f"<!-- notes of the day: {NOTES} -->\n{ASK}",
    ],
)
def test_the_request_is_found_in_what_wraps_it(text: str) -> None:
    assert user_words(text).said == ASK


def test_pasted_text_is_not_read_beside_words_that_tell_enough() -> None:
    assert routing_text([Turn("user", f"{FILE}\n{ASK}")]) == ASK


@pytest.mark.parametrize("name", ["calendar", "inbox", "daily_digest", "TeamNotes"])
def test_an_element_that_nobody_knows_is_pasted_text(name: str) -> None:
    unknown = f"<{name}>\n{NOTES}\n</{name}>"
    assert routing_text([Turn("user", ASK), Turn("user", unknown)]) == ASK
    assert routing_text([Turn("user", unknown)]) == NOTES.strip()


def test_words_that_do_not_tell_are_read_with_what_is_pasted() -> None:
    assert text_with_pasted([Turn("user", f"{FILE}\nFix this")]) == "def parse(): ...\nFix this"
    after = [Turn("user", ASK), Turn("assistant", "Which file?"), Turn("user", FILE)]
    assert text_with_pasted(after) == f"def parse(): ...\n{ASK}"
    long = f"<document>\n{NOTES * 9}\n</document>\nMake this better"
    read = text_with_pasted([Turn("user", long)])
    assert read is not None and len(read) <= EARLIER_CHARACTERS + len("\nMake this better")


def test_nothing_is_read_again_where_nothing_is_pasted() -> None:
    for text in (ASK, FILE, f"{FILE}\n{ASK * 50}"):
        assert text_with_pasted([Turn("user", text)]) is None


def test_pasted_text_is_read_when_it_is_all_there_is() -> None:
    assert routing_text([Turn("user", f"<document>\n{NOTES}\n</document>")]) == NOTES.strip()
    after = [Turn("user", ASK), Turn("assistant", "Which file?"), Turn("user", FILE)]
    assert "def parse" in latest_user_text(after)


def test_harness_text_alone_is_read_when_nobody_asked_anything() -> None:
    assert routing_text([Turn("user", REMINDER)]) == REMINDER
    assert latest_user_text([Turn("user", REMINDER)]) == REMINDER


def test_a_reminder_after_a_short_turn_changes_nothing() -> None:
    asked = [Turn("user", "Fix the off-by-one error in my Python binary search"), Turn("user", "ok")]
    assert routing_text([*asked, Turn("user", REMINDER)]) == routing_text(asked)


@given(st.text(alphabet="<>/ab_-\n`~ ?[]#", max_size=200))
def test_every_text_is_read(text: str) -> None:
    words = user_words(text)
    assert len(words.said) + len(words.pasted) <= len(text)
    assert len(without_harness(text)) <= len(text)


@pytest.mark.parametrize(
    "piece",
    [
        "<a_b>",
        "</a_b>",
        "<a_b",
        "```\n",
        "~~~\n```\n",
        "# TODO LIST OK\n",
        "<a_b x='",
        "<query>\n",
        "<!-- a\n",
        "Result of calling the a tool:\n<a_b>\n",
    ],
)
def test_hostile_text_takes_no_more_than_its_length(piece: str) -> None:
    assert grows_no_faster_than_linear(user_words, piece * (1_000_000 // len(piece)))


@pytest.mark.parametrize("ending", ["-->", "\n-->", "--> Why?\n-->", "--> Why?"])
def test_comments_may_share_their_end(ending: str) -> None:
    """A comment is the harness's where nothing follows it on its last line."""
    said = user_words(f"{ASK}\n<!-- a\n<!-- b {ending}").said
    assert said.split("\n")[0] == ASK
    assert ("<!-- b" in said) == ("Why?" in ending)
