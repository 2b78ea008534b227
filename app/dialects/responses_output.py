"""The output of a response, put together from the deltas of a chat completion, and the events of its stream.

A whole message is taken as one delta, so that a streamed and a whole answer cannot differ.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.dialects.chat_fields import calls_of, read_object, reasoning_of
from app.dialects.responses_state import StateCollector
from app.dialects.responses_tools import ToolName, Tools, custom_input

Item = dict[str, Any]
Event = dict[str, Any]
"""An event's document, without its `sequence_number`."""

INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of chat completions, and the reasons why a response is incomplete."""


class ResponseOutput:
    """The items of one response. Reasoning, messages and calls end where another begins."""

    def __init__(self, response_id: str, tools: Tools, *, encrypts_reasoning: bool = False) -> None:
        """`encrypts_reasoning`: the client wants `encrypted_content` of all reasoning."""
        self.items: list[Item] = []
        self.finish_reason: str | None = None
        self._key = response_id.removeprefix("resp_")
        self._tools = tools
        self._encrypts_reasoning = encrypts_reasoning
        self._state = StateCollector()
        self._open: int | None = None
        """The index of the reasoning or message that text is added to."""
        self._calls: list[_Call] = []
        self._call_at: dict[int, _Call] = {}
        """The calls by the index that chunks give them."""

    @property
    def incomplete_reason(self) -> str | None:
        """Why the response is incomplete."""
        return INCOMPLETE_REASONS.get(self.finish_reason or "")

    def take(self, choice: Mapping[str, Any], delta: Mapping[str, Any]) -> list[Event]:
        """The events for a delta, or a whole message, of `choice`."""
        events: list[Event] = []
        self._state.take(delta)
        if thought := reasoning_of(delta):
            events += self._add_reasoning(thought)
        for state in _mappings(delta.get("reasoning_items")):
            events += self._add_state(state)
        if text := _text(delta, "content"):
            events += self._add_text(text, _logprobs(choice))
        if refusal := _text(delta, "refusal"):
            events += self._add_refusal(refusal)
        self._annotate([_annotation(each) for each in _mappings(delta.get("annotations"))])
        for position, call in enumerate(calls_of(delta)):
            index = call.get("index")
            events += self._add_call(index if isinstance(index, int) else position, call)
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"] or self.finish_reason
        return events

    def finish(self) -> list[Event]:
        """The events that end every item. An answer without any has an empty message."""
        events = self._close()
        for call in self._calls:
            events += self._end_call(call)
        events += self._flush_state()
        if not any(item["type"] != "reasoning" for item in self.items) and self.incomplete_reason is None:
            events += [*self._open_message(), *self._open_part(_text_part())]
            events += self._close()
        return events

    def _add_reasoning(self, text: str) -> list[Event]:
        events: list[Event] = []
        item = self._current("reasoning")
        if item is None:
            events += self._begin({"type": "reasoning", "summary": [], "content": []}, "rs")
            events += self._open_part({"type": "reasoning_text", "text": ""})
            item = self.items[-1]
        item["content"][-1]["text"] += text
        return [*events, self._item_event(item, "reasoning_text.delta", content_index=0, delta=text)]

    def _add_state(self, state: Mapping[str, Any]) -> list[Event]:
        """Reasoning in a form that only its author reads: an item of its own, or a part of the open one."""
        item, events = self._current("reasoning"), []
        if item is None:
            events = self._begin({"type": "reasoning", "summary": [], "content": []}, "rs")
            item = self.items[-1]
        item["summary"] = state.get("summary") or item["summary"]
        item["encrypted_content"] = state.get("encrypted_content")
        return events

    def _add_text(self, text: str, logprobs: list[Item]) -> list[Event]:
        events = self._open_message()
        item = self.items[-1]
        if not item["content"] or item["content"][-1]["type"] != "output_text":
            events += self._end_part(item) if item["content"] else []
            events += self._open_part(_text_part())
        part = item["content"][-1]
        part["text"] += text
        part["logprobs"] = [*part["logprobs"], *logprobs]
        told = {"delta": text, "logprobs": [_event_logprob(each) for each in logprobs]}
        return [*events, self._item_event(item, "output_text.delta", **_last(item), **told)]

    def _add_refusal(self, refusal: str) -> list[Event]:
        events = self._open_message()
        item = self.items[-1]
        if not item["content"] or item["content"][-1]["type"] != "refusal":
            events += self._end_part(item) if item["content"] else []
            events += self._open_part({"type": "refusal", "refusal": ""})
        item["content"][-1]["refusal"] += refusal
        return [*events, self._item_event(item, "refusal.delta", **_last(item), delta=refusal)]

    def _add_call(self, index: int, said: Mapping[str, Any]) -> list[Event]:
        function = said.get("function")
        function = function if isinstance(function, Mapping) else {}
        name, arguments, call_id = _text(function, "name"), _text(function, "arguments"), _text(said, "id")
        call = self._call_at.get(index)
        events: list[Event] = []
        if call is None:
            events += [*self._close(), *self._end_complete_calls()]
            call = self._begin_call(name, call_id)
            self._call_at[index] = call
            events.append(self._added(call.item))
        self._state.take_call(call.item["call_id"], said)
        if call.ended or not arguments:
            return events
        return [*events, *self._add_arguments(call, arguments)]

    def _add_arguments(self, call: "_Call", arguments: str) -> list[Event]:
        call.arguments += arguments
        if call.name.custom:
            return []
        call.item["arguments"] = call.arguments
        return [self._item_event(call.item, "function_call_arguments.delta", delta=arguments)]

    def _begin_call(self, function: str, call_id: str) -> "_Call":
        name = self._tools.of(function)
        item: Item = {"call_id": call_id, "name": name.name}
        if name.namespace is not None:
            item["namespace"] = name.namespace
        if name.custom:
            item |= {"type": "custom_tool_call", "id": self._id("ctc"), "input": ""}
        else:
            item |= {"type": "function_call", "id": self._id("fc"), "arguments": "", "status": "in_progress"}
        self.items.append(item)
        self._calls.append(call := _Call(name, item))
        return call

    def _end_complete_calls(self) -> list[Event]:
        """End the calls whose arguments are whole: another item begins. Servers may write several at once."""
        events: list[Event] = []
        for call in self._calls:
            if read_object(call.arguments) is None:
                break
            events += self._end_call(call)
        return events

    def _end_call(self, call: "_Call") -> list[Event]:
        if call.ended:
            return []
        call.ended = True
        item = call.item
        if call.name.custom:
            item["input"] = custom_input(call.arguments)
            events = [
                self._item_event(item, "custom_tool_call_input.delta", delta=item["input"]),
                self._item_event(item, "custom_tool_call_input.done", input=item["input"]),
            ]
        else:
            events = [] if call.arguments or self.incomplete_reason else self._add_arguments(call, "{}")
            item["status"] = self._status()
            told = {"arguments": item["arguments"], "name": item["name"]}
            events.append(self._item_event(item, "function_call_arguments.done", **told))
        return [*events, self._done(item)]

    def _current(self, kind: str) -> Item | None:
        item = None if self._open is None else self.items[self._open]
        return item if item is not None and item["type"] == kind else None

    def _open_message(self) -> list[Event]:
        if self._current("message") is not None:
            return []
        ended = [*self._close(), *self._flush_state()]
        return [*ended, *self._begin({"type": "message", "role": "assistant", "content": []}, "msg")]

    def _flush_state(self) -> list[Event]:
        """An item for state that no reasoning came with."""
        encrypted = self._state.encrypted_content()
        if encrypted is None:
            return []
        return [*self._add_state({"encrypted_content": encrypted}), *self._close()]

    def _begin(self, item: Item, prefix: str) -> list[Event]:
        events = [*self._close(), *self._end_complete_calls()]
        item |= {"id": self._id(prefix), "status": "in_progress"}
        self.items.append(item)
        self._open = len(self.items) - 1
        return [*events, self._added(item)]

    def _close(self) -> list[Event]:
        """End the open reasoning or message."""
        if self._open is None:
            return []
        item, self._open = self.items[self._open], None
        if item["type"] == "reasoning":
            thought = "".join(part["text"] for part in item["content"]) if self._encrypts_reasoning else None
            if (encrypted := self._state.encrypted_content(thought)) is not None:
                item["encrypted_content"] = encrypted
        item["status"] = self._status()
        events = self._end_part(item) if item["content"] else []
        return [*events, self._done(item)]

    def _open_part(self, part: Item) -> list[Event]:
        item = self.items[-1]
        item["content"].append(part)
        return [self._item_event(item, "content_part.added", **_last(item), part=dict(part))]

    def _end_part(self, item: Item) -> list[Event]:
        part, place = item["content"][-1], _last(item)
        if part["type"] == "output_text":
            told = {"text": part["text"], "logprobs": [_event_logprob(each) for each in part["logprobs"]]}
            done = self._item_event(item, "output_text.done", **place, **told)
        elif part["type"] == "refusal":
            done = self._item_event(item, "refusal.done", **place, refusal=part["refusal"])
        else:
            done = self._item_event(item, "reasoning_text.done", **place, text=part["text"])
        return [done, self._item_event(item, "content_part.done", **place, part=dict(part))]

    def _annotate(self, annotations: list[Item | None]) -> None:
        item = self._current("message")
        if item is not None and item["content"][-1]["type"] == "output_text":
            part = item["content"][-1]
            part["annotations"] = [*part["annotations"], *(each for each in annotations if each is not None)]

    def _status(self) -> str:
        return "completed" if self.incomplete_reason is None else "incomplete"

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._key}{len(self.items):03x}"

    def _added(self, item: Item) -> Event:
        return {"type": "response.output_item.added", "output_index": self._place(item), "item": _copy(item)}

    def _done(self, item: Item) -> Event:
        return {"type": "response.output_item.done", "output_index": self._place(item), "item": _copy(item)}

    def _item_event(self, item: Item, kind: str, **fields: Any) -> Event:
        place = {"item_id": item["id"], "output_index": self._place(item)}
        return {"type": f"response.{kind}", **place, **fields}

    def _place(self, item: Item) -> int:
        return next(index for index, each in enumerate(self.items) if each is item)


class _Call:
    """One call of a tool while it is written."""

    def __init__(self, name: ToolName, item: Item) -> None:
        self.name = name
        self.item = item
        self.arguments = ""
        self.ended = False


def _text_part() -> Item:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _copy(item: Item) -> Item:
    """An item as it is now: events must not change with what comes after them."""
    copied = dict(item)
    if isinstance(item.get("content"), list):
        copied["content"] = [dict(part) for part in item["content"]]
    return copied


def _last(item: Item) -> dict[str, int]:
    return {"content_index": len(item["content"]) - 1}


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _logprobs(choice: Mapping[str, Any]) -> list[Item]:
    said = choice.get("logprobs")
    return _tokens(said.get("content")) if isinstance(said, Mapping) else []


def _tokens(said: Any) -> list[Item]:
    return [
        {**_logprob(each), "top_logprobs": [_logprob(other) for other in _known(each.get("top_logprobs"))]}
        for each in _known(said)
    ]


def _known(tokens: Any) -> list[Mapping[str, Any]]:
    return [each for each in _mappings(tokens) if isinstance(each.get("logprob"), int | float)]


def _logprob(token: Mapping[str, Any]) -> Item:
    text = _text(token, "token")
    said = token.get("bytes")
    return {
        "token": text,
        "bytes": said if isinstance(said, list) else list(text.encode("utf-8", "replace")),
        "logprob": token["logprob"],
    }


def _event_logprob(logprob: Item) -> Item:
    """Events have no bytes."""
    others = [{"token": each["token"], "logprob": each["logprob"]} for each in logprob["top_logprobs"]]
    return {"token": logprob["token"], "logprob": logprob["logprob"], "top_logprobs": others}


def _annotation(said: Mapping[str, Any]) -> Item | None:
    """A citation; chat completions nest it."""
    cited = said.get("url_citation")
    if not isinstance(cited, Mapping):
        return None
    kinds = {"start_index": int, "end_index": int, "title": str, "url": str}
    if not all(isinstance(cited.get(name), kind) for name, kind in kinds.items()):
        return None
    return {"type": "url_citation", **{name: cited[name] for name in kinds}}
