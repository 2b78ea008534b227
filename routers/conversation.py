"""The text of a conversation that is embedded: the recent user turns, the latest in full.

A turn longer than LATEST_CHARACTERS (about 8,000 words, one second of encoding) is sampled: both ends and
evenly spaced passages between them.
"""

from collections.abc import Sequence

from routers.request import Turn

EARLIER_CHARACTERS = 400
"""Characters read of each earlier user turn."""

LATEST_CHARACTERS = 48_000
ENDS, PASSAGES = 12_000, 24
"""Characters read at each end of an overlong turn, and the number of passages between them."""


def routing_text(turns: Sequence[Turn], recent_turns: int = 3) -> str:
    """The last user turn, preceded by the starts of earlier ones if it is short; at most LATEST_CHARACTERS
    + `recent_turns` · (EARLIER_CHARACTERS + 1) characters.

    Assistant messages are left out (long, and in the style of an expert), and so are system messages
    (constant per application). `recent_turns` counts user turns, the last included. Without any user turn
    the last turn is read.
    """
    latest = latest_user_text(turns)
    # Earlier turns are context for "and in French?" or "why?"; a long turn needs none.
    if len(latest) > EARLIER_CHARACTERS or recent_turns < 2:
        return _sample(latest)
    earlier = [text[:EARLIER_CHARACTERS] for text in _user_texts(turns)[-recent_turns:-1]]
    return "\n".join([*earlier, latest])


def latest_user_text(turns: Sequence[Turn]) -> str:
    """The text of the last user turn; of the last turn if there is none."""
    texts = _user_texts(turns) or [turn.text for turn in turns[-1:]]
    return texts[-1] if texts else ""


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


def _user_texts(turns: Sequence[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "user" and turn.text.strip()]
