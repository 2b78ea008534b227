"""A fake expert's answers in each dialect, whole and as server-sent events."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experts.expert import DialectName
from experts.fake.answers import Answer

DONE = b"data: [DONE]\n\n"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One dialect: `whole` answers, the `events` of streamed ones, and its shape of an error."""

    whole: Callable[[Answer], Document]
    events: Callable[[Answer], Iterator[bytes]]
    error: Callable[[Mapping[str, Any]], Document]


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    named = b"" if name is None else f"event: {name}\n".encode()
    return named + b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _chat_usage(answer: Answer) -> Document:
    prompt, said = answer.prompt_tokens, answer.answer_tokens
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def _wants_usage(answer: Answer) -> bool:
    return bool((answer.body.get("stream_options") or {}).get("include_usage"))


def _chat_envelope(answer: Answer, kind: str) -> Document:
    return {
        "id": f"chatcmpl-{answer.number}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
    }


def _chat_logprobs(answer: Answer, pieces: Sequence[str], *, unsure: bool = False) -> Document | None:
    if answer.logprob is None:
        return None
    tokens = _tokens(answer, pieces)
    if unsure:
        tokens = [{**token, "logprob": 2 * answer.logprob} for token in tokens]
    return {"content": tokens, "refusal": None}


def _tokens(answer: Answer, pieces: Sequence[str]) -> list[Document]:
    """Their log-probabilities, none when nobody asked."""
    if answer.logprob is None:
        return []
    return [
        {"token": piece, "logprob": answer.logprob, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces
    ]


def _chat_whole(answer: Answer) -> Document:
    choices = []
    for index, pieces in enumerate(answer.said):
        message: Document = {"role": "assistant", "content": "".join(pieces)}
        if answer.tool_calls:
            message |= {"content": None, "tool_calls": answer.tool_calls}
        logprobs = _chat_logprobs(answer, pieces, unsure=answer.surest not in {None, index})
        choices.append(
            {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}
        )
    return _chat_envelope(answer, "chat.completion") | {"choices": choices, "usage": _chat_usage(answer)}


def _chat_events(answer: Answer) -> Iterator[bytes]:
    def chunk(delta: Document, piece: str | None = None, finish_reason: str | None = None) -> bytes:
        logprobs = _chat_logprobs(answer, [piece]) if piece is not None else None
        choices = [
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
            for index in range(answer.choices)
        ]
        return event(_chat_envelope(answer, "chat.completion.chunk") | {"choices": choices})

    yield chunk({"role": "assistant", "content": ""})
    for index, call in enumerate(answer.tool_calls):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    for piece in answer.pieces:
        yield chunk({"content": piece}, piece=piece)
    yield chunk({}, finish_reason=answer.finish_reason)
    if _wants_usage(answer):
        envelope = _chat_envelope(answer, "chat.completion.chunk")
        yield event(envelope | {"choices": [], "usage": _chat_usage(answer)})
    yield DONE


def _text_choices(
    answer: Answer, pieces: Sequence[str], finish: str | None, offset: int = 0
) -> list[Document]:
    """`offset`: of the first piece in the whole text."""
    end = {"logprobs": _text_logprobs(answer, pieces, offset), "finish_reason": finish}
    return [{"index": index, "text": "".join(pieces), **end} for index in range(answer.choices)]


def _text_logprobs(answer: Answer, pieces: Sequence[str], offset: int) -> Document | None:
    if answer.logprob is None or not pieces:
        return None
    return {
        "tokens": list(pieces),
        "token_logprobs": [answer.logprob] * len(pieces),
        "top_logprobs": [{piece: answer.logprob} for piece in pieces],
        "text_offset": [offset + len("".join(pieces[:number])) for number in range(len(pieces))],
    }


def _text_envelope(answer: Answer) -> Document:
    return _chat_envelope(answer, "text_completion") | {"id": f"cmpl-{answer.number}"}


def _text_whole(answer: Answer) -> Document:
    choices = _text_choices(answer, answer.pieces, answer.finish_reason)
    return _text_envelope(answer) | {"choices": choices, "usage": _chat_usage(answer)}


def _text_events(answer: Answer) -> Iterator[bytes]:
    offset = 0
    for piece in answer.pieces:
        yield event(_text_envelope(answer) | {"choices": _text_choices(answer, [piece], None, offset)})
        offset += len(piece)
    yield event(_text_envelope(answer) | {"choices": _text_choices(answer, [], answer.finish_reason)})
    if _wants_usage(answer):
        yield event(_text_envelope(answer) | {"choices": [], "usage": _chat_usage(answer)})
    yield DONE


def _response(answer: Answer, status: str, output: Sequence[Document]) -> Document:
    cut = status == "incomplete"
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer.answer_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + answer.answer_tokens,
    }
    return {
        "id": f"resp_{answer.number}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None if status == "in_progress" else usage,
    }


def _status(answer: Answer) -> str:
    return "incomplete" if answer.finish_reason == "length" else "completed"


def _items(answer: Answer) -> list[Document]:
    if answer.tool_calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{call['id']}",
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
                "status": "completed",
            }
            for call in answer.tool_calls
        ]
    logprobs = _tokens(answer, answer.pieces)
    part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": logprobs}
    return [
        {
            "type": "message",
            "id": f"msg_{answer.number}",
            "role": "assistant",
            "status": _status(answer),
            "content": [part],
        }
    ]


def _bare(answer: Answer, pieces: Sequence[str]) -> list[Document]:
    """As events have them, without the bytes."""
    return [
        {name: value for name, value in token.items() if name != "bytes"} for token in _tokens(answer, pieces)
    ]


def _responses_whole(answer: Answer) -> Document:
    return _response(answer, _status(answer), _items(answer))


def _responses_events(answer: Answer) -> Iterator[bytes]:
    number = -1

    def said(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    yield said("response.created", response=_response(answer, "in_progress", []))
    yield said("response.in_progress", response=_response(answer, "in_progress", []))
    items = _items(answer)
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        called = item["type"] == "function_call"
        empty: Document = {"arguments": ""} if called else {"content": []}
        begun = {**item, "status": "in_progress", **empty}
        yield said("response.output_item.added", output_index=index, item=begun)
        if called:
            arguments = item["arguments"]
            yield said("response.function_call_arguments.delta", **place, delta=arguments)
            yield said(
                "response.function_call_arguments.done", **place, name=item["name"], arguments=arguments
            )
        else:
            place |= {"content_index": 0}
            part = item["content"][0]
            yield said("response.content_part.added", **place, part={**part, "text": "", "logprobs": []})
            for piece in answer.pieces:
                yield said(
                    "response.output_text.delta", **place, delta=piece, logprobs=_bare(answer, [piece])
                )
            whole = _bare(answer, answer.pieces)
            yield said("response.output_text.done", **place, text=answer.text, logprobs=whole)
            yield said("response.content_part.done", **place, part=part)
        yield said("response.output_item.done", output_index=index, item=item)
    status = _status(answer)
    yield said(f"response.{status}", response=_response(answer, status, items))


_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _message(answer: Answer, content: Sequence[Document], reason: str | None, said: int) -> Document:
    return {
        "id": f"msg_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": said},
    }


def _blocks(answer: Answer) -> list[Document]:
    if answer.tool_calls:
        return [
            {
                "type": "tool_use",
                "id": call["id"],
                "name": call["function"]["name"],
                "input": json.loads(call["function"]["arguments"]),
            }
            for call in answer.tool_calls
        ]
    return [{"type": "text", "text": answer.text}]


def _messages_whole(answer: Answer) -> Document:
    reason = _STOP_REASONS.get(answer.finish_reason, "end_turn")
    return _message(answer, _blocks(answer), reason, answer.answer_tokens)


def _messages_events(answer: Answer) -> Iterator[bytes]:
    def said(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    yield said("message_start", message=_message(answer, [], None, 0))
    for index, block in enumerate(_blocks(answer)):
        called = block["type"] == "tool_use"
        begun = {**block, "input": {}} if called else {**block, "text": ""}
        yield said("content_block_start", index=index, content_block=begun)
        if called:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield said("content_block_delta", index=index, delta=delta)
        else:
            for piece in answer.pieces:
                delta = {"type": "text_delta", "text": piece}
                yield said("content_block_delta", index=index, delta=delta)
        yield said("content_block_stop", index=index)
    reason = _STOP_REASONS.get(answer.finish_reason, "end_turn")
    ending = {"stop_reason": reason, "stop_sequence": None}
    usage = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.answer_tokens}
    yield said("message_delta", delta=ending, usage=usage)
    yield said("message_stop")


def _openai_error(error: Mapping[str, Any]) -> Document:
    return {"error": dict(error)}


def _anthropic_error(error: Mapping[str, Any]) -> Document:
    return {"type": "error", "error": dict(error)}


WIRE_FORMATS: Mapping[DialectName, WireFormat] = {
    "chat": WireFormat(_chat_whole, _chat_events, _openai_error),
    "completions": WireFormat(_text_whole, _text_events, _openai_error),
    "responses": WireFormat(_responses_whole, _responses_events, _openai_error),
    "messages": WireFormat(_messages_whole, _messages_events, _anthropic_error),
}
