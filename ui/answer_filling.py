"""Fill an answer from the API, away from the script that shows it. Knows nothing of Streamlit."""

import asyncio
import logging

from ui.api import CoterieApi, Counted, Ended, Routed, Said
from ui.background import BackgroundLoop
from ui.conversation_store import Answer, Conversation, Pin, Rating, State, Turn
from ui.errors import ApiBadReply, ApiError

log = logging.getLogger(__name__)


def ask(loop: BackgroundLoop, api: CoterieApi, conversation: Conversation, question: str, pin: Pin) -> Turn:
    """Add a turn to the conversation and begin to answer it. Returns at once."""
    turn = Turn(question, pin=pin)
    conversation.turns.append(turn)
    _begin(loop, api, conversation, turn)
    return turn


def ask_again(loop: BackgroundLoop, api: CoterieApi, conversation: Conversation, pin: Pin) -> None:
    """Answer the last question anew, with the pin of now; the answer it had is dropped."""
    turn = conversation.turns[-1]
    turn.answer.stop()
    turn.answer = Answer()
    turn.pin = pin
    _begin(loop, api, conversation, turn)


def rate(loop: BackgroundLoop, api: CoterieApi, answer: Answer, thumb: int | None, comment: str) -> None:
    """Send a rating and keep it when the API has taken it; None takes a rating back."""
    if answer.decision is None:
        return
    try:
        loop.run(api.give_feedback(answer.decision.id, thumb or 0, comment))
    except ApiError as error:
        answer.rating_error = error
        return
    answer.rating_error = None
    answer.rating = Rating(thumb, comment) if thumb else None


def _begin(loop: BackgroundLoop, api: CoterieApi, conversation: Conversation, turn: Turn) -> None:
    turn.answer.work = loop.start(fill(turn.answer, api, conversation.body()))


async def fill(answer: Answer, api: CoterieApi, body: dict[str, object]) -> None:
    """Stream one completion into `answer`. However it ends, the answer ends and keeps its text."""
    try:
        async for event in api.chat(body):
            match event:
                case Routed(decision):
                    answer.decision = decision
                case Said(text, thinking):
                    answer.say(text, thinking)
                case Ended(finish_reason):
                    answer.finish_reason = finish_reason
                case Counted(_, completion_tokens):
                    answer.completion_tokens = completion_tokens
        answer.end(State.DONE)
    except asyncio.CancelledError:
        answer.end(State.STOPPED)
        raise
    except ApiError as error:
        answer.end(State.FAILED, error)
    except Exception as error:
        # Whatever it is, the person must not wait for ever; the text of a prompt stays out of the log.
        log.error("an answer failed: %s", type(error).__name__)
        answer.end(State.FAILED, ApiBadReply("The console could not read the answer."))
