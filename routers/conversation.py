"""What of a conversation the router reads: the recent user turns, the latest in full."""

from collections.abc import Sequence

from routers.request import Turn

EARLIER_CHARACTERS = 400
"""Of each earlier user turn: enough for its topic, not enough to drown the latest one."""


def routing_text(turns: Sequence[Turn], recent_turns: int = 3) -> str:
    """The text that is embedded: the last user turn whole, before it the start of earlier ones.

    Answers of the assistant are not read (they are long and echo an expert's style), nor are system
    messages (they are the same for every request of an application). `recent_turns` bounds the user
    turns that are read, the last included. Without any user turn the last turn is read.
    """
    said = _said(turns)
    if not said:
        return latest_user_text(turns)
    earlier = [text[:EARLIER_CHARACTERS] for text in said[-recent_turns:-1]] if recent_turns > 1 else []
    latest = said[-1]
    # A long latest turn speaks for itself; context serves "and in French?" and "why?".
    if len(latest) > EARLIER_CHARACTERS:
        return latest
    return "\n".join([*earlier, latest])


def latest_user_text(turns: Sequence[Turn]) -> str:
    """What the person said last, whatever tools and assistants added; without any, the last turn."""
    said = _said(turns)
    if said:
        return said[-1]
    return turns[-1].text if turns else ""


def _said(turns: Sequence[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "user" and turn.text.strip()]
