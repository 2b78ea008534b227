"""OpenAI's older text completions: https://platform.openai.com/docs/api-reference/completions"""

from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import Completion

from tests.contracts.chat_contract import usage_of, usage_problems
from tests.contracts.chat_streams import completions_problems
from tests.contracts.contract import Case, Contract, ParsedAnswer
from tests.contracts.errors import openai_error_problems
from tests.contracts.sse import DONE, Event
from tests.contracts.validation import problems


def body(case: Case) -> dict[str, Any] | None:
    if case.tools is not None or case.schema:
        return None
    out: dict[str, Any] = {
        "model": "coterie",
        "prompt": case.question,
        "max_tokens": case.max_tokens or 1000,
        "n": case.n,
    }
    if case.usage:
        out["stream_options"] = {"include_usage": True}
    if case.logprobs:
        out["logprobs"] = 1
    return out


def whole(case: Case, document: dict[str, Any]) -> list[str]:
    found = problems(Completion, document)
    if found:
        return found
    if "routing" not in document:
        found.append("no routing")
    choices = document["choices"]
    if [each["index"] for each in choices] != list(range(case.n)):
        found.append(f"{len(choices)} choices, asked for {case.n}")
    for each in choices:
        found += logprobs_problems(case, each["text"], [each])
    return found + usage_problems(document.get("usage"))


def logprobs_problems(case: Case, text: str, choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the choice's pieces: their tokens are the text, each at its place in it."""
    told = [each["logprobs"] for each in choices if each.get("logprobs") is not None]
    if not case.logprobs:
        return [f"log-probabilities come unasked: {told}"] if told else []
    tokens = [token for each in told for token in each["tokens"]]
    offsets = [offset for each in told for offset in each["text_offset"]]
    found = [] if "".join(tokens) == text else [f"log-probabilities of {tokens}, not of {text!r}"]
    for token, offset in zip(tokens, offsets, strict=True):
        if not text.startswith(token, offset):
            found.append(f"{token!r} is not at {offset} of {text!r}")
    return found


def stream(case: Case, events: Sequence[Event]) -> list[str]:
    found = completions_problems(events, usage=case.usage, n=case.n)
    if found:
        return found
    pieces = [each for event in events[:-1] for each in event.data["choices"] if each["index"] == 0]
    return logprobs_problems(case, "".join(each["text"] for each in pieces), pieces)


def failed_stream(events: Sequence[Event]) -> list[str]:
    return completions_problems(events, failed=True)


def parse_whole(document: dict[str, Any]) -> ParsedAnswer:
    choices = document["choices"]
    texts = tuple(each["text"] for each in choices)
    return ParsedAnswer(texts, (), choices[0]["finish_reason"], usage_of(document))


def parse_stream(events: Sequence[Event]) -> ParsedAnswer:
    texts: dict[int, str] = {}
    finish = usage = None
    for event in events:
        if event.data == DONE:
            break
        usage = usage_of(event.data) or usage
        for choice in event.data["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            finish = choice["finish_reason"] or finish
    return ParsedAnswer(tuple(texts.values()), (), finish, usage)


CONTRACT = Contract(
    "/v1/completions", body, whole, stream, failed_stream, openai_error_problems, parse_whole, parse_stream
)
