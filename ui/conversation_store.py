"""What is kept on the console's side: browsers, their conversations, the turns of each.

Kept in memory, outside any Streamlit session, so that neither a click nor a reload loses text.
Knows nothing of Streamlit or HTTP. One writer at a time touches an answer (see `ui.answer_filling`).
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from client import ApiError, RoutingDecision

TITLE_LENGTH = 48


class AnswerState(StrEnum):
    """Where an answer is in its life."""

    WAITING = "waiting"
    """Asked; nothing has come yet."""
    STREAMING = "streaming"
    DONE = "done"
    STOPPED = "stopped"
    """The person stopped it; what had come is kept."""
    FAILED = "failed"
    """It ended with an error; what had come is kept."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What the person fixed instead of leaving it to routing."""

    expert: str | None = None
    category: str | None = None

    @property
    def model(self) -> str:
        """The model name that asks for this pin."""
        if self.expert is not None:
            return self.expert
        return f"coterie/{self.category}" if self.category is not None else "coterie"

    @property
    def is_set(self) -> bool:
        return self.expert is not None or self.category is not None


@dataclass(slots=True)
class Rating:
    """What the person thinks of an answer, as the API has taken it."""

    thumb: int
    """-1 or 1."""
    comment: str = ""


@dataclass(slots=True, eq=False)
class LiveAnswer:
    """One answer as it grows. Times in seconds since asking."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: AnswerState = AnswerState.WAITING
    decision: RoutingDecision | None = None
    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    error: ApiError | None = None
    finish_reason: str | None = None
    completion_tokens: int | None = None
    total_s: float | None = None
    rating: Rating | None = None
    rating_error: ApiError | None = None
    work: Future[None] | None = None
    _asked: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def thinking(self) -> str:
        return "".join(self.thoughts)

    @property
    def live(self) -> bool:
        return self.state in (AnswerState.WAITING, AnswerState.STREAMING)

    def say(self, text: str, thinking: str = "") -> None:
        """Append what came; nothing is appended to an answer that has ended."""
        if not self.live:
            return
        self.state = AnswerState.STREAMING
        if text:
            self.pieces.append(text)
        if thinking:
            self.thoughts.append(thinking)

    def note_time(self) -> None:
        """Its last text has come; the first call counts."""
        if self.total_s is None:
            self.total_s = time.monotonic() - self._asked

    def end(self, state: AnswerState, error: ApiError | None = None) -> None:
        """The first end counts: a stop is not turned into a failure by the connection it closes."""
        if not self.live:
            return
        self.note_time()
        self.error = error
        self.state = state

    def stop(self) -> None:
        """End it now, keeping what has come; the expert stops working too."""
        self.end(AnswerState.STOPPED)
        if self.work is not None:
            self.work.cancel()


@dataclass(slots=True, eq=False)
class ChatTurn:
    """A question and what became of it."""

    question: str
    answer: LiveAnswer = field(default_factory=LiveAnswer)
    pin: Pin = Pin()


@dataclass(slots=True, eq=False)
class Conversation:
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    turns: list[ChatTurn] = field(default_factory=list)
    name: str = ""

    @property
    def title(self) -> str:
        """The name given to it, or the beginning of its first question."""
        if self.name:
            return self.name
        if not self.turns:
            return "New chat"
        line = " ".join(self.turns[0].question.split())
        return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"

    @property
    def live(self) -> bool:
        return any(turn.answer.live for turn in self.turns)

    def stop(self) -> None:
        """End what still runs, keeping what has come."""
        for turn in self.turns:
            turn.answer.stop()

    def messages(self) -> list[dict[str, str]]:
        """The chat messages to send: every question, and what was said to it, however it ended.

        A question that nobody answered is left out unless it is the last, so that roles alternate.
        """
        found: list[dict[str, str]] = []
        for turn in self.turns[:-1]:
            if turn.answer.text:
                found.append({"role": "user", "content": turn.question})
                found.append({"role": "assistant", "content": turn.answer.text})
        if self.turns:
            found.append({"role": "user", "content": self.turns[-1].question})
        return found

    def body(self) -> dict[str, Any]:
        """The chat completion request for the last turn."""
        return {
            "model": self.turns[-1].pin.model if self.turns else "coterie",
            "messages": self.messages(),
            "routing": {"conversation": self.id},
        }

    def as_markdown(self) -> str:
        """The conversation as a document to take away."""
        parts = [f"# {self.title}"]
        for turn in self.turns:
            decision = turn.answer.decision
            speaker = decision.expert if decision is not None else "Answer"
            parts += [f"## You\n\n{turn.question}", f"## {speaker}\n\n{turn.answer.text}"]
        return "\n\n".join(parts) + "\n"


class Shelf:
    """One browser's conversations, newest first, and who it wanted to answer last.

    Several windows of the browser may look at the same shelf; which conversation is open is theirs.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._conversations: tuple[Conversation, ...] = ()
        self._lock = threading.Lock()
        self.pin = Pin()

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        return self._conversations

    @property
    def live(self) -> bool:
        return any(one.live for one in self._conversations)

    def find(self, conversation_id: str) -> Conversation | None:
        """The conversation with this id, None when it is not here."""
        return next((one for one in self._conversations if one.id == conversation_id), None)

    def keep(self, conversation: Conversation) -> None:
        """Put a conversation on the shelf, unless it is there; beyond the limit the oldest is forgotten."""
        with self._lock:
            if conversation in self._conversations:
                return
            kept = (conversation, *self._conversations)
            self._conversations = kept[: self._limit]
        for old in kept[self._limit :]:
            old.stop()

    def delete(self, conversation: Conversation) -> None:
        """Forget a conversation, ending what still runs in it."""
        with self._lock:
            self._conversations = tuple(one for one in self._conversations if one is not conversation)
        conversation.stop()

    def stop(self) -> None:
        """End everything that still runs."""
        for one in self._conversations:
            one.stop()


class Library:
    """Every browser's shelf. Safe to use from any thread."""

    def __init__(self, browsers: int, conversations: int) -> None:
        self._limit = browsers
        self._new: Callable[[], Shelf] = lambda: Shelf(conversations)
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._lock = threading.Lock()

    def shelf(self, browser: str) -> Shelf:
        """The shelf of a browser, which is new when the id is. Beyond the limit the longest unused
        shelf that is not busy is forgotten."""
        with self._lock:
            if browser not in self._shelves:
                self._shelves[browser] = self._new()
                self._make_room()
            self._shelves.move_to_end(browser)
            return self._shelves[browser]

    def _make_room(self) -> None:
        while len(self._shelves) > self._limit:
            idle = next((key for key, shelf in self._shelves.items() if not shelf.live), None)
            self._shelves.pop(idle if idle is not None else next(iter(self._shelves))).stop()
