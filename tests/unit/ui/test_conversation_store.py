"""What is kept of conversations, without a page or an API."""

from client import ApiBadReply
from ui.conversation_store import AnswerState, ChatTurn, Conversation, Library, LiveAnswer, Pin, Shelf


def turn(question: str, *said: str, state: AnswerState = AnswerState.DONE) -> ChatTurn:
    answer = LiveAnswer()
    for piece in said:
        answer.say(piece)
    answer.end(state)
    return ChatTurn(question, answer)


def test_roles_alternate_in_what_is_sent_even_after_failures() -> None:
    conversation = Conversation(
        turns=[
            turn("one", "1"),
            turn("nobody answered", state=AnswerState.FAILED),
            turn("stopped", "par", "tial", state=AnswerState.STOPPED),
            ChatTurn("now"),
        ]
    )
    assert [(message["role"], message["content"]) for message in conversation.messages()] == [
        ("user", "one"),
        ("assistant", "1"),
        ("user", "stopped"),
        ("assistant", "partial"),
        ("user", "now"),
    ]


def test_the_request_names_the_pin_and_the_conversation() -> None:
    conversation = Conversation(turns=[ChatTurn("hi", pin=Pin(category="coding"))])
    assert conversation.body()["model"] == "coterie/coding"
    assert conversation.body()["routing"] == {"conversation": conversation.id}


def test_a_title_is_the_first_line_cut_short() -> None:
    assert Conversation(turns=[ChatTurn("  a\n b ")]).title == "a b"
    assert len(Conversation(turns=[ChatTurn("word " * 40)]).title) <= 48


def test_a_stopped_answer_is_not_failed_by_the_connection_it_closed() -> None:
    answer = LiveAnswer()
    answer.say("so far")
    answer.stop()
    answer.end(AnswerState.FAILED, ApiBadReply("closed"))
    answer.say(" and more")
    assert (answer.state, answer.text, answer.error) == (AnswerState.STOPPED, "so far", None)


def test_the_oldest_conversation_makes_room() -> None:
    shelf = Shelf(limit=2)
    kept = [Conversation(turns=[ChatTurn(str(number))]) for number in range(3)]
    for conversation in kept:
        shelf.keep(conversation)
    assert [one.title for one in shelf.conversations] == ["2", "1"]
    assert not kept[0].live


def test_the_longest_unused_browser_makes_room_unless_it_is_busy() -> None:
    library = Library(browsers=2, conversations=5)
    busy = library.shelf("busy")
    busy.keep(Conversation(turns=[ChatTurn("still running")]))
    idle = library.shelf("idle")
    library.shelf("new")
    assert library.shelf("busy") is busy
    assert library.shelf("idle") is not idle


def test_a_conversation_can_be_taken_away_as_a_document() -> None:
    document = Conversation(turns=[turn("What?", "That.")]).as_markdown()
    assert document == "# What?\n\n## You\n\nWhat?\n\n## Answer\n\nThat.\n"
