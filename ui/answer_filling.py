"""Fill an answer from the API, away from the script that shows it. Knows nothing of Streamlit."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from client import ApiBadReply, ApiError, AsyncClient, Decided, Delta, Ended
from ui.background import BackgroundLoop
from ui.conversation_store import AnswerState, ChatTurn, Conversation, LiveAnswer, Pin, Rating

OUTCOME_S = 1.0
"""How long an answer that has come waits for what it cost."""
OUTCOME_TRIES = 10

log = logging.getLogger(__name__)


def ask(
    loop: BackgroundLoop, api: AsyncClient, conversation: Conversation, question: str, pin: Pin
) -> ChatTurn:
    """Add a turn to the conversation and begin to answer it. Returns at once."""
    turn = ChatTurn(question, pin=pin)
    conversation.turns.append(turn)
    _begin(loop, api, conversation, turn)
    return turn


def ask_again(loop: BackgroundLoop, api: AsyncClient, conversation: Conversation, pin: Pin) -> None:
    """Answer the last question anew, with the pin of now; the answer it had is dropped."""
    turn = conversation.turns[-1]
    turn.answer.stop()
    turn.answer = LiveAnswer()
    turn.pin = pin
    _begin(loop, api, conversation, turn)


def rate(loop: BackgroundLoop, api: AsyncClient, answer: LiveAnswer, thumb: int | None, comment: str) -> None:
    """Send a rating and keep it when the API has taken it; None takes a rating back."""
    if answer.decision is None:
        return
    try:
        loop.run(api.feedback(answer.decision.id, rating=thumb or 0, comment=comment or None))
    except ApiError as error:
        answer.rating_error = error
        return
    answer.rating_error = None
    answer.rating = Rating(thumb, comment) if thumb else None


def _begin(loop: BackgroundLoop, api: AsyncClient, conversation: Conversation, turn: ChatTurn) -> None:
    turn.answer.work = loop.start(fill(turn.answer, api, conversation.body()))


async def fill(answer: LiveAnswer, api: AsyncClient, body: dict[str, Any]) -> None:
    """Stream one completion into `answer`. However it ends, the answer ends and keeps its text."""
    try:
        async with api.stream_chat(**body) as events:
            async for event in events:
                match event:
                    case Decided(decision):
                        answer.decision = decision
                    case Delta(text, thinking):
                        answer.say(text, thinking)
                    case Ended(finish_reason, usage):
                        answer.finish_reason = finish_reason
                        answer.completion_tokens = usage.completion
        answer.note_time()
        await _read_outcome(answer, api)
        answer.end(AnswerState.DONE)
    except asyncio.CancelledError:
        answer.end(AnswerState.STOPPED)
        raise
    except ApiError as error:
        answer.end(AnswerState.FAILED, error)
    except Exception as error:
        # Whatever it is, the person must not wait for ever; the text of a prompt stays out of the log.
        log.error("an answer failed: %s", type(error).__name__)
        answer.end(AnswerState.FAILED, ApiBadReply("The console could not read the answer."))


async def _read_outcome(answer: LiveAnswer, api: AsyncClient) -> None:
    """Put the stored decision, which knows what was spent, in the place of the one that came first."""
    if answer.decision is None:
        return
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(OUTCOME_S):
            for _ in range(OUTCOME_TRIES):
                stored = await api.decision(answer.decision.id)
                if stored.status != "running":
                    answer.decision = stored
                    return
                await asyncio.sleep(OUTCOME_S / OUTCOME_TRIES)
