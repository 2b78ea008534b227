"""The chat page, used as a person uses it, over the stand-in API."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.ui.api_server import Running
from tests.unit.ui.conftest import NOBODY, ask, stop_buttons, texts, until_ended

Open = Callable[..., AppTest]


def button(page: AppTest, prefix: str) -> str:
    """The key of the last button whose key starts with `prefix`."""
    return [item.key for item in page.button if item.key and item.key.startswith(prefix)][-1]


def test_an_answer_shows_who_gave_it_and_why(open_page: Open) -> None:
    page = ask(open_page(), "Write a function")
    said = texts(page)
    assert "an answer" in said
    assert ":violet-badge[coder]" in said
    assert "Coding · 93%" in said
    assert ":green-badge[matched]" in said
    assert "coder answers for a good reason." in said


def test_the_ranking_behind_a_choice_shows_costs_and_exclusions(open_page: Open) -> None:
    page = ask(open_page(), "Write a function")
    why = page.main.expander[0]
    table = next(str(item.value) for item in why.html if "Utility" in str(item.value))
    assert "0.710" in table
    assert "+0.020" in table
    assert "−0.060" in table
    assert "Excluded: cannot use tools" in table
    assert any("Mathematics" in str(item.value) and "4%" in str(item.value) for item in why.html)


def test_an_answer_shows_what_it_was_expected_to_cost_what_it_did_and_the_alternative(
    open_page: Open,
) -> None:
    page = ask(open_page(), "Write a function")
    assert any("12 tokens · 32 B·tokens" in str(element.value) for element in page.main.markdown)
    shown = next(str(each.value) for each in page.main.html if "Did cost" in str(each.value))
    for words in ("Expected", "150 B·tokens", "32 B·tokens", "With writer alone"):
        assert words in shown


def test_a_conversation_is_sent_whole(open_page: Open, server: Running) -> None:
    page = ask(ask(open_page(), "First"), "Second")
    assert [message["role"] for message in server.log.chats[1]["messages"]] == ["user", "assistant", "user"]
    first, second = (chat["routing"]["conversation"] for chat in server.log.chats)
    assert first == second
    assert [item.value for item in page.main.text] == ["First", "Second"]


def test_a_new_chat_starts_empty_and_the_old_one_stays_in_the_list(open_page: Open) -> None:
    page = ask(open_page(), "Remember me")
    page.button(key="new-chat").click().run()
    assert not page.chat_message
    page.button(key=button(page, "open-")).click().run()
    assert page.main.text[0].value == "Remember me"


def test_a_reload_finds_its_conversations_again(open_page: Open) -> None:
    page = ask(open_page(), "Remember me")
    again = open_page(like=page)
    assert again.main.text[0].value == "Remember me"
    assert "an answer" in texts(again)


def test_a_window_without_an_open_conversation_lists_what_the_browser_has(open_page: Open) -> None:
    page = ask(open_page(), "Remember me")
    del page.query_params["chat"]
    other = open_page(like=page)
    assert not other.chat_message
    other.button(key=button(other, "open-")).click().run()
    assert other.main.text[0].value == "Remember me"


def test_two_windows_of_a_browser_have_their_own_conversations(open_page: Open) -> None:
    first = open_page()
    second = open_page(like=first)
    ask(first, "In the first")
    ask(second, "In the second")
    assert [item.value for item in first.run().main.text] == ["In the first"]
    assert [item.value for item in second.run().main.text] == ["In the second"]


def test_another_browser_does_not_see_them(open_page: Open) -> None:
    page = ask(open_page(), "Mine alone")
    other = open_page()
    assert other.query_params["session"] != page.query_params["session"]
    assert not other.main.text


def test_stopping_keeps_what_has_come_and_frees_the_expert(open_page: Open, server: Running) -> None:
    page = open_page()
    page.chat_input[0].set_value("!slow").run()
    while "Here is" not in texts(page):
        page.run()
    page.button(key=stop_buttons(page)[0]).click().run()
    until_ended(page)
    assert "Here is" in texts(page)
    assert "You stopped this answer" in texts(page)
    assert server.log.given_up == 1


def test_an_answer_grows_on_while_the_person_looks_elsewhere(open_page: Open) -> None:
    page = open_page()
    page.chat_input[0].set_value("Write a function").run()
    page.button(key="new-chat").click().run()
    page.button(key=button(page, "open-")).click().run()
    assert "an answer" in texts(until_ended(page))


def test_what_is_typed_during_an_answer_starts_no_second_one(open_page: Open, server: Running) -> None:
    page = open_page()
    page.chat_input[0].set_value("!slow").run()
    page.chat_input[0].set_value("Impatient").run()
    assert "Still answering" in page.toast[0].value
    assert len(server.log.chats) <= 1
    page.button(key=stop_buttons(page)[0]).click().run()


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("!refuse", "The request is longer than any expert takes."),
        ("!proxy", "The API answered with status 502."),
        ("!json", "The API's answer is no event stream."),
    ],
)
def test_a_refused_message_is_kept_beside_the_reason(open_page: Open, question: str, words: str) -> None:
    page = ask(open_page(), question)
    assert words in page.error[0].value
    assert "Your message is kept" in page.error[0].value
    assert page.main.text[0].value == question
    assert "Traceback" not in texts(page)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("!dies", "The expert stopped answering."),
        ("!broken", "The answer broke off before its end."),
        ("!rubbish", "no JSON"),
    ],
)
def test_an_answer_that_breaks_keeps_its_beginning(open_page: Open, question: str, words: str) -> None:
    page = ask(open_page(), question)
    assert words in page.error[0].value
    assert "Here is **an answer" in texts(page)


def test_a_failed_message_can_be_edited(open_page: Open) -> None:
    page = ask(open_page(), "!refuse")
    page.button(key=button(page, "edit-")).click().run()
    assert not page.chat_message
    assert page.chat_input[0].proto.value == "!refuse"


def test_a_failed_message_can_be_tried_again(open_page: Open, server: Running) -> None:
    page = ask(open_page(), "!dies")
    page.button(key=button(page, "again-")).click().run()
    until_ended(page)
    assert [chat["messages"][-1]["content"] for chat in server.log.chats] == ["!dies", "!dies"]
    assert len(page.main.text) == 1


def test_without_an_api_the_page_says_what_to_do(open_page: Open) -> None:
    page = open_page(api_url=NOBODY)
    assert "coterie up" in page.error[0].value
    page = ask(page, "Anybody there?")
    assert page.main.text[0].value == "Anybody there?"
    assert len(page.error) == 2


@pytest.mark.parametrize(
    ("choice", "model"), [("Expert · small", "small"), ("Category · Coding", "coterie/coding")]
)
def test_a_pin_is_asked_for_by_name(open_page: Open, server: Running, choice: str, model: str) -> None:
    page = open_page()
    page.selectbox(key="pin").select(choice).run()
    ask(page, "Hello")
    assert server.log.chats[0]["model"] == model
    assert ":blue-badge[pinned]" in texts(page)


def test_the_sidebar_shows_the_health_of_each_expert(open_page: Open) -> None:
    health = open_page().sidebar.markdown[-1].value
    assert ":green[●] coder" in health
    assert ":red[●] writer" in health


def test_a_thumb_is_sent_and_stays(open_page: Open, server: Running) -> None:
    page = ask(open_page(), "Write a function")
    page.feedback[0].set_value(1).run()
    assert server.log.feedback == [{"decision_id": "dec_0001", "rating": 1}]
    again = open_page(like=page)
    assert again.feedback[0].value == 1


def test_a_comment_is_sent_with_the_thumb_and_shown(open_page: Open, server: Running) -> None:
    page = ask(open_page(), "Write a function")
    page.feedback[0].set_value(0).run()
    page.text_area[0].set_value("too *short*")
    page.form_submit_button[0].click().run()
    assert server.log.feedback[-1] == {"decision_id": "dec_0001", "rating": -1, "comment": "too *short*"}
    assert "You said: too \\*short\\*" in texts(page)


def test_a_rating_that_was_not_taken_is_not_shown_as_taken(open_page: Open) -> None:
    page = ask(open_page(), "Write a function")
    page.feedback[0].set_value(1).run()
    page.text_area[0].set_value("!refuse")
    page.form_submit_button[0].click().run()
    assert "There is no such decision." in page.error[0].value
    assert "You said" not in texts(page)


def test_there_is_nothing_to_rate_before_the_answer_has_ended(open_page: Open) -> None:
    page = open_page()
    page.chat_input[0].set_value("!slow").run()
    assert stop_buttons(page)
    assert not page.feedback
    page.button(key=stop_buttons(page)[0]).click().run()


def test_a_conversation_can_be_deleted(open_page: Open) -> None:
    page = ask(open_page(), "Forget me")
    page.button(key="delete").click().run()
    assert not page.chat_message
    assert not [item for item in page.button if item.key and item.key.startswith("open-")]


def test_a_setting_without_meaning_is_named(monkeypatch: pytest.MonkeyPatch, open_page: Open) -> None:
    page = open_page(api_url="not an address")
    assert "COTERIE_API_URL" in page.error[0].value


def test_the_api_key_is_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, open_page: Open, server: Running
) -> None:
    monkeypatch.setenv("COTERIE_API_KEY", "sesame")
    page = ask(open_page(), "!refuse")
    assert server.log.keys == {"Bearer sesame"}
    assert "sesame" not in texts(page)
