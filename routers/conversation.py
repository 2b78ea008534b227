"""What of a conversation the router reads: the recent user turns, the latest in full.

Of a turn longer than LATEST_CHARACTERS (some 8,000 words, a second of work for the encoder) it reads both
ends and passages evenly spread between them: all parts have their say, and no request can keep the
router busy for minutes.
"""

from collections.abc import Sequence

from routers.request import Turn

EARLIER_CHARACTERS = 400
"""Of each earlier user turn: enough for its topic, not enough to drown the latest one."""

LATEST_CHARACTERS = 48_000
ENDS, PASSAGES = 12_000, 24
"""Characters of each end of an overlong turn, and how many passages make up the rest."""


def routing_text(turns: Sequence[Turn], recent_turns: int = 3) -> str:
    """The text that is embedded: the last user turn, before it the start of earlier ones. At most
    LATEST_CHARACTERS and `recent_turns` · (EARLIER_CHARACTERS + 1).

    Answers of the assistant are not read (they are long and echo an expert's style), nor are system
    messages (they are the same for every request of an application). `recent_turns` bounds the user
    turns that are read, the last included. Without any user turn the last turn is read.
    """
    said = _said(turns)
    if not said:
        return _condensed(latest_user_text(turns))
    earlier = [text[:EARLIER_CHARACTERS] for text in said[-recent_turns:-1]] if recent_turns > 1 else []
    latest = said[-1]
    # A long latest turn speaks for itself; context serves "and in French?" and "why?".
    if len(latest) > EARLIER_CHARACTERS:
        return _condensed(latest)
    return "\n".join([*earlier, latest])


def latest_user_text(turns: Sequence[Turn]) -> str:
    """What the person said last, whatever tools and assistants added; without any, the last turn."""
    said = _said(turns)
    if said:
        return said[-1]
    return turns[-1].text if turns else ""


def _condensed(text: str) -> str:
    """At most LATEST_CHARACTERS of `text`, the same for the same text."""
    if len(text) <= LATEST_CHARACTERS:
        return text
    middle = text[ENDS:-ENDS]
    # One character less for the new line that joins each passage to the next.
    size = (LATEST_CHARACTERS - 2 * ENDS) // PASSAGES - 1
    step = (len(middle) - size) / (PASSAGES - 1)
    starts = [round(step * number) for number in range(PASSAGES)]
    passages = [middle[start : start + size] for start in starts]
    return "\n".join([text[: ENDS - 1], *passages, text[-ENDS:]])


def _said(turns: Sequence[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "user" and turn.text.strip()]
