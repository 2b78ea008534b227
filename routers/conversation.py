"""The text of a conversation that is embedded: what the person asked lately, the latest in full.

What harnesses wrap around a request is no part of it (`routers.harness_text`), nor is a template around
the whole of it (`routers.request_templates`). A turn longer than LATEST_CHARACTERS (about 8,000 words, one
second of encoding) is sampled: both ends and evenly spaced passages between them.
"""

from collections.abc import Iterator, Sequence

from routers.harness_text import UserWords, user_words, without_harness
from routers.request import Turn
from routers.request_templates import without_template

EARLIER_CHARACTERS = 400
"""Characters read of each earlier user turn, and of what is pasted beside a request."""

LATEST_CHARACTERS = 48_000
ENDS, PASSAGES = 12_000, 24
"""Characters read at each end of an overlong turn, and the number of passages between them."""


def routing_text(turns: Sequence[Turn], recent_turns: int = 3) -> str:
    """The last request of the person, preceded by the starts of earlier ones if it is short; at most
    LATEST_CHARACTERS + `recent_turns` · (EARLIER_CHARACTERS + 1) characters.

    Assistant messages are left out (long, and in the style of an expert), and so are system messages
    (constant per application) and what a harness adds. Turns of nothing else are passed over; `recent_turns`
    counts the others, the last included. What is pasted is read where nobody says anything. Without any user
    turn the last turn is read.
    """
    said, pasted = _recent_words(turns, recent_turns)
    if not said:
        return _sample(pasted or latest_user_text(turns))
    return "\n".join([*_earlier(said), _sample(said[-1])])


def prompt_text(prompt: str) -> str:
    """`routing_text` of a conversation of one request."""
    return routing_text((Turn("user", prompt),))


def text_with_pasted(turns: Sequence[Turn], recent_turns: int = 3) -> str | None:
    """`routing_text` with the beginning of what was pasted beside the last request or after it: for words
    that do not tell by themselves what they are about ("Make this better"). None where nothing is, and for a
    long request."""
    said, pasted = _recent_words(turns, recent_turns)
    if not said or not pasted or len(said[-1]) > EARLIER_CHARACTERS:
        return None
    return "\n".join([*_earlier(said), pasted[:EARLIER_CHARACTERS], said[-1]])


def is_blank(text: str) -> bool:
    """Whether there is nothing in it to read: white space, and characters that nobody sees."""
    return not any(each.isprintable() and not each.isspace() for each in text)


def latest_user_text(turns: Sequence[Turn]) -> str:
    """The text of the last user turn without what a harness added, pasted text included; turns of nothing
    else are passed over where there are others. Of the last turn if there is no user turn."""
    for text in _user_texts(turns):
        if rest := without_harness(text):
            return rest
    return next(_user_texts(turns), turns[-1].text if turns else "")


def _earlier(said: Sequence[str]) -> list[str]:
    """The starts of the requests before a short last one."""
    # Earlier turns are context for "and in French?" or "why?"; a long turn needs none.
    if len(said[-1]) > EARLIER_CHARACTERS:
        return []
    return [text[:EARLIER_CHARACTERS] for text in said[:-1]]


def _recent_words(turns: Sequence[Turn], recent_turns: int) -> tuple[list[str], str]:
    """The last `recent_turns` requests, oldest first, and what was pasted with the last one or after it."""
    said: list[str] = []
    pasted: list[str] = []
    for text in _user_texts(turns):
        words: UserWords = user_words(text)
        if words.pasted and not said:
            pasted.append(words.pasted)
        if words.said.strip():
            said.append(without_template(words.said))
        if len(said) == recent_turns:
            break
    return said[::-1], "\n".join(pasted[::-1])


def _sample(text: str) -> str:
    """At most LATEST_CHARACTERS of `text`, deterministically."""
    if len(text) <= LATEST_CHARACTERS:
        return text
    middle = text[ENDS:-ENDS]
    # Less one for the newline after each passage.
    size = (LATEST_CHARACTERS - 2 * ENDS) // PASSAGES - 1
    step = (len(middle) - size) / (PASSAGES - 1)
    starts = [round(step * number) for number in range(PASSAGES)]
    passages = [middle[start : start + size] for start in starts]
    return "\n".join([text[: ENDS - 1], *passages, text[-ENDS:]])


def _user_texts(turns: Sequence[Turn]) -> Iterator[str]:
    """The user turns that are not empty, the latest first."""
    return (turn.text for turn in reversed(turns) if turn.role == "user" and turn.text.strip())
