"""Chat completions as servers send them, made into what OpenAI's API has: whole, as chunks, and from whole to
chunks. The older text completions have the same form around `text` instead of messages.

Knows the shapes and their variants, not how the bytes were fetched, nor when they come.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import SecretStr

from base.usage import TokenUsage
from experts.chat_shapes import TEXTS, StreamedChoice, finish_reason, whole_message
from experts.errors import ExpertBadReply
from experts.event_reader import EventReader
from experts.expert import Expert
from experts.refusals import error_in, reported_error
from experts.stream_events import END_OF_STREAM, StreamEvent

Kind = Literal["chat", "completions"]

_FAILURES = frozenset({"abort", "error"})
"""Finish reasons of answers that failed."""
_TIERS = (None, "auto", "default", "fast", "flex", "priority", "scale")
_ENVELOPE = frozenset({"id", "object", "created", "model", "choices", "system_fingerprint"})
_TEXT_CHOICE, _TEXT_DELTA = frozenset({"index", "delta"}), frozenset({"role", "content"})
"""Fields of a chunk that says more of a text."""
_NULLABLE = frozenset({"content", "finish_reason", "logprobs", "refusal"})
"""Fields that OpenAI sends as null too. Others are left out: vLLM has many of its own."""


def check_completion(
    expert: Expert, body: Any, secret: SecretStr | None = None, kind: Kind = "chat"
) -> dict[str, Any]:
    """`body` as a completion of the expert's name. Raises `ExpertBadReply`, or what an error object stands
    for: some servers send errors with status 200."""
    if (error := error_in(body)) is not None:
        raise reported_error(expert, error, secret)
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        raise no_completion(expert)
    for choice in choices:
        if isinstance(choice, dict) and choice.get("error"):
            raise reported_error(expert, choice, secret)
    completion = {
        **_envelope(expert, body, kind, streamed=False),
        "choices": [_whole_choice(expert, index, choice, kind) for index, choice in enumerate(choices)],
    }
    completion.pop("usage", None)
    usage = whole_usage(body.get("usage"))
    return completion if usage is None else {**completion, "usage": usage}


def whole_usage(usage: Any) -> dict[str, Any] | None:
    """A server's `usage` with OpenAI's counts as they are meant; None when it does not hold them."""
    if usage is None:
        return None
    counted = TokenUsage.of(usage)
    told = counted.document()
    if told is None or counted.both is None:
        return None
    # `calls` are those of our strategies.
    more = {name: value for name, value in _without_nulls(usage).items() if name != "calls"}
    for name, value in usage.items():
        if name.endswith("_details") and isinstance(value, dict):
            counts = {part: count for part, count in value.items() if isinstance(count, int)}
            told[name] = counts | told.get(name, {})
    return {**more, **told}


def no_completion(expert: Expert) -> ExpertBadReply:
    return ExpertBadReply(expert.name, f"Expert {expert.name} sent a reply that is no completion.")


def _whole_choice(expert: Expert, index: int, choice: Any, kind: Kind) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, dict) else None
    text = choice.get("text") if isinstance(choice, dict) else None
    if kind == "chat" and not isinstance(message, dict):
        message = _spoken(text)
    if not (isinstance(message, dict) if kind == "chat" else isinstance(text, str)):
        raise no_completion(expert)
    if _failed(choice):
        raise ExpertBadReply(expert.name, f"Expert {expert.name} reported a failure of its answer.")
    finish, said = finish_reason(choice.get("finish_reason")), {}
    unread = set()
    if kind == "chat" and message is not None:
        said["message"], finish = whole_message(_without_nulls(message), finish)
        unread = {"text"}
    given = choice.get("index")
    place = given if isinstance(given, int) else index
    return {
        "logprobs": None,
        **{name: value for name, value in _without_nulls(choice).items() if name not in unread},
        **said,
        "index": place,
        "finish_reason": finish or "stop",
    }


def _spoken(text: Any) -> dict[str, Any] | None:
    """The message of a server that answers a chat as the older completions do: with a text."""
    return {"role": "assistant", "content": text} if isinstance(text, str) else None


def completion_chunks(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A whole chat completion as the chunks of a stream: who speaks, what is said, why it ends, each of all
    choices; then the usage, if it is known."""
    envelope = {
        "id": completion.get("id") or _new_id("chat"),
        "object": "chat.completion.chunk",
        "created": completion.get("created") or int(time.time()),
        "model": completion.get("model") or "",
    }
    begins, says, ends = [], [], []
    for place, choice in enumerate(completion.get("choices") or ()):
        message = dict(choice.get("message") or {})
        role = message.pop("role", None) or "assistant"
        calls = [{"index": at, **call} for at, call in enumerate(message.pop("tool_calls", None) or ())]
        said = {name: value for name, value in message.items() if value not in (None, [], "")}
        if calls:
            said["tool_calls"] = calls
        index = place if choice.get("index") is None else choice["index"]
        begins.append(_choice(index, {"role": role, "content": ""}))
        if said:
            says.append({**_choice(index, said), "logprobs": choice.get("logprobs")})
        ends.append(
            {**_choice(index, {}), "finish_reason": finish_reason(choice.get("finish_reason")) or "stop"}
        )
    chunks = [{**envelope, "choices": choices} for choices in (begins, says, ends) if choices]
    if isinstance(completion.get("usage"), dict):
        chunks.append({**envelope, "choices": [], "usage": completion["usage"]})
    return chunks


def _choice(index: int, delta: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": None}


class ChunkReader(EventReader):
    """Reads the events of one streamed completion into chunks of one form: `choices` is a list, `model` the
    expert's name, `finish_reason` one of OpenAI's or None."""

    def __init__(self, expert: Expert, secret: SecretStr | None = None, kind: Kind = "chat") -> None:
        super().__init__(expert, secret)
        self._kind: Kind = kind
        self._choices: dict[int, StreamedChoice] = {}
        self._first: dict[str, Any] = {}
        """What all chunks of an answer have in common, as the first one has it."""
        self._shared: dict[str, Any] = {}
        """What a chunk of text has around its choice."""

    @property
    def whole(self) -> bool:
        """Every choice that began has finished."""
        return bool(self._choices) and self.finished == len(self._choices)

    @property
    def finished(self) -> int:
        return sum(choice.finish is not None for choice in self._choices.values())

    def _end_event(self) -> StreamEvent:
        return END_OF_STREAM

    def _done(self) -> StreamEvent:
        """Some servers give no finish reason at all; a choice that lacks one where others have theirs was
        cut off."""
        if self.finished and not self.whole:
            raise self._cut()
        self.ended = True
        return END_OF_STREAM

    def _to_event(self, document: dict[str, Any]) -> StreamEvent | None:
        if (text := self._more_text(document)) is not None:
            return StreamEvent.of(text)
        return StreamEvent.of(self._chunk(document)) if _is_chunk(document) else None

    def _more_text(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """A chunk that only says more of what a choice was saying, as most do; None for any other. There is
        nothing in it to bring into form."""
        choices = document.get("choices")
        if type(choices) is not list or len(choices) != 1 or not _says_only(document, _ENVELOPE):
            return None
        choice = choices[0]
        if type(choice) is not dict or not _says_only(choice, _TEXT_CHOICE):
            return None
        index, delta = choice.get("index"), choice.get("delta")
        if type(delta) is not dict or type(index) is not int or not _says_only(delta, _TEXT_DELTA):
            return None
        content, state = delta.get("content"), self._choices.get(index)
        if type(content) is not str or state is None or not state.is_open:
            return None
        self.begun = self.begun or content != ""
        said = {"logprobs": None, "index": index, "delta": {"content": content}, "finish_reason": None}
        return {**self._shared, "choices": [said]}

    def _chunk(self, document: dict[str, Any]) -> dict[str, Any]:
        choices = document.get("choices")
        if choices and not isinstance(choices, list):
            raise self._malformed()
        chunk = _envelope(self._expert, document, self._kind, streamed=True)
        self._first = self._first or {name: chunk[name] for name in ("id", "created")}
        chunk |= self._first
        self._shared = {name: chunk[name] for name in _ENVELOPE if name in chunk and name != "choices"}
        self._read_usage(document)
        if isinstance(document.get("model"), str) and document["model"]:
            self.model = document["model"]
        kept = [choice for choice in choices or () if isinstance(choice, dict)]
        read = [self._read_choice(place, choice) for place, choice in enumerate(kept)]
        chunk["choices"] = [choice for choice in read if choice is not None]
        return chunk

    def _read_choice(self, place: int, choice: dict[str, Any]) -> dict[str, Any] | None:
        """The choice in OpenAI's form; None for what says nothing after its end."""
        if choice.get("error") or _failed(choice):
            raise self._failure(choice if choice.get("error") else {"error": "no reason given"})
        self._read_usage(choice)
        index = choice.get("index")
        index = index if isinstance(index, int) else place
        state = self._choices.setdefault(index, StreamedChoice())
        clean = {"logprobs": None, **_without_nulls(choice), "index": index}
        if self._kind == "completions":
            delta: dict[str, Any] = {"content": clean.setdefault("text", "")}
        else:
            # Some servers stream messages instead of deltas, or the text alone.
            given = (clean.get("delta"), clean.pop("message", None), _spoken(clean.pop("text", None)))
            delta = next((each for each in given if isinstance(each, dict)), {})
        read = state.read(_without_nulls(delta), finish_reason(choice.get("finish_reason")))
        if read is None:
            return None
        said, finish = read
        if self._kind == "chat":
            clean["delta"] = said
        self.finish_reason = finish or self.finish_reason
        self.begun = self.begun or any(said.get(name) for name in TEXTS) or finish is not None
        return {**clean, "finish_reason": finish}

    def _read_usage(self, document: Mapping[str, Any]) -> None:
        groq = document.get("x_groq")
        for place in (document, groq if isinstance(groq, dict) else {}):
            self.usage = whole_usage(place.get("usage")) or self.usage


def _says_only(part: Mapping[str, Any], names: frozenset[str]) -> bool:
    """Whether no other field than `names` has a value."""
    return part.keys() <= names or all(part[name] is None for name in part.keys() - names)


def _is_chunk(document: Mapping[str, Any]) -> bool:
    """Whether it says anything of an answer: pings and the like do not."""
    return any(name in document for name in ("choices", "usage")) or document.get("object") in (
        "chat.completion.chunk",
        "text_completion",
    )


def _envelope(expert: Expert, document: Mapping[str, Any], kind: Kind, *, streamed: bool) -> dict[str, Any]:
    """The document with the fields that OpenAI's always has, the model's name that we know, and without an
    error that is none and a tier that OpenAI has not."""
    given = document.get("id"), document.get("created")
    chat = "chat.completion.chunk" if streamed else "chat.completion"
    unknown = {"error"} if document.get("service_tier") in _TIERS else {"error", "service_tier"}
    return {
        **{name: value for name, value in _without_nulls(document).items() if name not in unknown},
        "id": given[0] if isinstance(given[0], str) and given[0] else _new_id(kind),
        "object": chat if kind == "chat" else "text_completion",
        "created": given[1] if isinstance(given[1], int) and given[1] else int(time.time()),
        "model": expert.name,
    }


def _without_nulls(part: Mapping[str, Any]) -> dict[str, Any]:
    """Without fields that say nothing."""
    return {name: value for name, value in part.items() if value is not None or name in _NULLABLE}


def _new_id(kind: Kind) -> str:
    return f"{'chatcmpl' if kind == 'chat' else 'cmpl'}-{time.time_ns():x}"


def _failed(choice: Mapping[str, Any]) -> bool:
    reason = choice.get("finish_reason")
    return isinstance(reason, str) and reason.strip().lower() in _FAILURES
