"""Digests of chat messages, by which a conversation is recognised that has no name.

Every request of a conversation repeats the messages before it. A chain of digests, one after each message,
finds the longest prefix that was answered before. A digest under which an expert is remembered is called a
mark. What a client may change between two requests is left out: system and developer messages, text that a
harness adds, ids, reasoning, cache control, white space. Pure: knows nothing of experts, nor of where marks
are stored.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.serving.provider_state import state_of
from routers.harness_text import without_harness

DIGEST_BYTES = 16
SPACE_CHARACTERS = 100_000
"""Of a longer text only the white space at its ends is left out: a bound on what comparing costs."""
SAME_EXCHANGE_CHARACTERS = 40
"""An answer shorter than this says too little to recognise a conversation whose beginning was cut off."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function. `id` is None for legacy function calls."""

    id: str | None
    name: str
    arguments: str
    """JSON with sorted keys; what is no JSON as it came."""


@dataclass(frozen=True, slots=True)
class ConversationTurn:
    """A turn of the conversation; consecutive assistant messages are one turn. `state` is the provider state
    in it, which only the model that made it can read; `size` counts characters, those of tool call arguments
    included."""

    role: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Of a tool's result: the id of the call that it answers."""
    state: tuple[str, ...] = ()
    size: int = 0

    def joined(self, other: "ConversationTurn", separator: str = "\n") -> "ConversationTurn":
        """Both as one turn of the first one's role."""
        text = separator.join(each for each in (self.text, other.text) if each)
        calls, state = self.calls + other.calls, self.state + other.state
        return ConversationTurn(self.role, text, calls, self.tool_call_id, state, self.size + other.size)

    def update(self, digest: "hashlib.blake2b") -> None:
        """Add the turn to `digest`."""
        fields = [self.role, _without_space(self.text)]
        for call in self.calls:
            fields += [call.name, call.arguments]
        parts = []
        for each in fields:
            data = each.encode("utf-8", "surrogatepass")
            parts += [len(data).to_bytes(8, "big"), data]
        digest.update(b"".join([*parts, b"|"]))


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Tool calls that nothing was answered to yet. `made_at`: the index of the turn that made them; None when
    the client has cut it off."""

    ids: tuple[str, ...]
    made_at: int | None


class MessageChain:
    """The messages of one request, under its caller's key."""

    def __init__(self, api_key: str | None, messages: Iterable[Mapping[str, Any]]) -> None:
        """`messages`: OpenAI's chat messages. `api_key`: the label of the key, or None; two keys never share
        a digest."""
        self.turns = turns = _turns(messages)
        self.prefilled = bool(turns) and turns[-1].role == "assistant" and not turns[-1].calls
        """The last turn is an assistant's without tool calls: its beginning is given, the expert goes on."""
        self.history = turns[:-1] if self.prefilled else turns
        """The turns without an answer that the client has begun for the expert."""
        answers = (at for at in reversed(range(len(self.history))) if self.history[at].role == "assistant")
        self._last_answer = next(answers, None)
        self._salt = _salt(api_key)
        digest = self._digest("chain")
        before: list[str | None] = []
        asked = False
        for turn in self.turns:
            before.append(_hex(digest) if asked else None)
            asked = asked or turn.role == "user"
            turn.update(digest)
        self._before = before
        self._whole = digest if asked else None
        self._whole_mark = _hex(digest) if asked else None

    @property
    def request_mark(self) -> str | None:
        """The digest of everything that the expert answers to; None when there is no user turn."""
        if self.prefilled:
            return self._before[-1]
        return self._whole_mark

    @property
    def opening_mark(self) -> str | None:
        """The digest of the conversation up to its first user turn, which every later request of it repeats;
        None when there is no user turn."""
        first = next((at for at, turn in enumerate(self.turns) if turn.role == "user"), None)
        return None if first is None else self._up_to(first + 1)

    @property
    def repeated_share(self) -> float:
        """The share of the request's characters up to its last answer, 0..1: earlier requests held them."""
        if (made := self._last_answer) is None:
            return 0.0
        sizes = [turn.size for turn in self.history]
        return sum(sizes[: made + 1]) / sum(sizes) if any(sizes) else 0.0

    def answer_mark(self, answer: ConversationTurn) -> str | None:
        """The digest of the conversation up to `answer`."""
        digest = self._digest("chain")
        if self.request_mark is None:
            return None
        if not self.prefilled and self._whole is not None:
            digest = self._whole.copy()
        else:
            for turn in self.history:
                turn.update(digest)
            answer = self.turns[-1].joined(answer, "")
        answer.update(digest)
        return _hex(digest)

    def exchange_mark(self, answer: ConversationTurn | None = None) -> str | None:
        """The digest of the last exchange alone, from the last user turn to `answer` (None: to the last
        answer in the request). None when it says too little, and for the first answer of a conversation, of
        which nothing can be cut off."""
        turns = self.history
        if answer is None:
            made = self._last_answer
            if made is None:
                return None
            turns, answer = turns[:made], turns[made]
        elif self._last_answer is None:
            return None
        elif self.prefilled:
            answer = self.turns[-1].joined(answer, "")
        asked = next((at for at in reversed(range(len(turns))) if turns[at].role == "user"), None)
        if asked is None or answer.size < SAME_EXCHANGE_CHARACTERS:
            return None
        digest = self._digest("exchange")
        for turn in (*turns[asked:], answer):
            turn.update(digest)
        return _hex(digest)

    def prefix_marks(self, limit: int) -> list[tuple[str, int]]:
        """The digests of at most `limit` prefixes that an expert may have answered, the longest first, each
        with its number of turns: those that end with an answer, and those that end before one."""
        found: list[tuple[str, int]] = []
        history = self.history
        for at in reversed(range(len(history))):
            if history[at].role != "assistant":
                continue
            for length in (at + 1, at):
                mark = self._up_to(length)
                if mark is not None:
                    found.append((mark, length))
            if len(found) >= limit:
                break
        return found[:limit]

    def call_mark(self, call_id: str) -> str:
        """The digest of a tool call's id under this key, wherever it was made."""
        digest = self._digest("call")
        digest.update(call_id.encode("utf-8", "surrogatepass"))
        return _hex(digest)

    def call_mark_after_prefix(self, call_id: str, prefix_mark: str) -> str:
        """The digest of a tool call's id in the answer to the prefix with that mark: some servers count their
        ids from 0 in every answer."""
        digest = self._digest("call here")
        digest.update(f"{prefix_mark} {call_id}".encode("utf-8", "surrogatepass"))
        return _hex(digest)

    def turn_mark(self, turn: ConversationTurn) -> str:
        """The digest of an answer with tool calls by itself, their ids included, wherever it was given: what
        is left when a client has put a summary in the place of what came before."""
        digest = self._digest("calling")
        turn.update(digest)
        digest.update(json.dumps([call.id for call in turn.calls]).encode())
        return _hex(digest)

    def state_mark(self, value: str) -> str:
        """The digest of a piece of provider state under this key."""
        digest = self._digest("state")
        digest.update(value.encode("utf-8", "surrogatepass"))
        return _hex(digest)

    def mark_before(self, at: int) -> str | None:
        """The digest of the turns before turn `at`."""
        return self._before[at]

    def mark_after(self, at: int) -> str | None:
        """The digest of the turns up to turn `at`, included."""
        return self._up_to(at + 1)

    def open_calls(self) -> OpenCalls | None:
        """The tool calls that are open: no answer follows them. A result does not close its call, nor does
        what a user says beside results; the expert's next answer does."""
        made = self._last_answer
        if made is not None and self.history[made].calls:
            ids = [call.id for call in self.history[made].calls if call.id]
            return OpenCalls(tuple(ids), made)
        results = self.history[0 if made is None else made + 1 :]
        orphans = [turn for turn in results if turn.role == "tool"]
        if not orphans:
            return None
        return OpenCalls(tuple(turn.tool_call_id for turn in orphans if turn.tool_call_id), None)

    def state(self) -> tuple[str, ...]:
        """The provider state that the request brings, the latest first, each once."""
        found = [value for turn in reversed(self.turns) if turn.state for value in reversed(turn.state)]
        return tuple(dict.fromkeys(found))

    def prefix_share(self, turns: int) -> float:
        """The share of the request's characters in its first `turns` turns, 0..1."""
        sizes = [turn.size + 1 for turn in self.turns]
        return sum(sizes[:turns]) / max(1, sum(sizes))

    def _up_to(self, length: int) -> str | None:
        if length < len(self.turns):
            return self._before[length]
        return self._whole_mark

    def _digest(self, kind: str) -> "hashlib.blake2b":
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        digest.update(kind.encode() + b"\0" + self._salt + b"\0")
        return digest


@lru_cache(maxsize=1_024)
def _salt(api_key: str | None) -> bytes:
    return json.dumps(api_key).encode()


def assistant_turn(message: Mapping[str, Any]) -> ConversationTurn:
    """An assistant message, a whole answer's or a request's."""
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str):
        text = refusal
    calls = tuple(_calls(message))
    size = len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
    return ConversationTurn("assistant", text, calls, state=state_of(message), size=size)


def _turns(messages: Iterable[Mapping[str, Any]]) -> tuple[ConversationTurn, ...]:
    turns: list[ConversationTurn] = []
    for message in messages:
        role = message.get("role")
        if role == "assistant":
            turn = assistant_turn(message)
            if not (turn.text.strip() or turn.calls or turn.state):
                continue
            if turns and turns[-1].role == "assistant":
                turns[-1] = turns[-1].joined(turn)
            else:
                turns.append(turn)
        elif role in {"tool", "function"}:
            text, answers = _text(message.get("content")), message.get("tool_call_id")
            call_id = answers if isinstance(answers, str) else None
            turns.append(ConversationTurn("tool", text, tool_call_id=call_id, size=len(text)))
        elif role == "user":
            whole = _text(message.get("content"))
            text = without_harness(whole)
            if text.strip():
                turns.append(ConversationTurn("user", text, size=len(whole)))
    return tuple(turns)


def _text(content: Any) -> str:
    """A content's text; of other parts only their kind, since their addresses may change."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        return ""
    parts = (part for part in content if isinstance(part, Mapping))
    return "\n".join(_part(part) for part in parts if part.get("type") not in _UNREAD)


_UNREAD = frozenset({"thinking", "redacted_thinking", "reasoning"})


def _part(part: Mapping[str, Any]) -> str:
    for field in ("text", "refusal"):
        if isinstance(part.get(field), str):
            return str(part[field])
    return f"[{part.get('type')}]"


def _calls(message: Mapping[str, Any]) -> Iterable[ToolCall]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, Mapping):
            continue
        given = call.get("function") if isinstance(call.get("function"), Mapping) else call.get("custom")
        function = given if isinstance(given, Mapping) else {}
        call_id = call.get("id")
        yield ToolCall(
            call_id if isinstance(call_id, str) and call_id else None,
            str(function.get("name", "")),
            canonical_arguments(function.get("arguments", function.get("input"))),
        )
    legacy = message.get("function_call")
    if isinstance(legacy, Mapping):
        yield ToolCall(None, str(legacy.get("name", "")), canonical_arguments(legacy.get("arguments")))


def canonical_arguments(arguments: Any) -> str:
    """Arguments as JSON with sorted keys: clients that parse them write them anew."""
    if isinstance(arguments, str):
        if not arguments.strip():
            return "{}"
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return str(arguments).strip()
    try:
        return json.dumps({} if arguments is None else arguments, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""


def _without_space(text: str) -> str:
    """`text` as it is compared: clients trim it, and join its parts with or without new lines."""
    return "".join(text.split()) if len(text) <= SPACE_CHARACTERS else text.strip()


def _hex(digest: "hashlib.blake2b") -> str:
    return digest.hexdigest()
