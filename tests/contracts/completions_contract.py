"""OpenAI's older text completions: https://platform.openai.com/docs/api-reference/completions"""

from collections.abc import Sequence
from typing import Any

from openai.types import Completion

from tests.contracts.chat_contract import usage_of, usage_problems
from tests.contracts.chat_streams import completions_problems
from tests.contracts.contract import Case, Contract, Said
from tests.contracts.errors import openai_error_problems
from tests.contracts.sse import DONE, Event
from tests.contracts.validation import problems

ENOUGH = 200
"""Without a limit the API answers with 16 tokens."""


def body(case: Case) -> dict[str, Any] | None:
    if case.tools is not None or case.schema:
        return None
    out: dict[str, Any] = {
        "model": "coterie",
        "prompt": case.question,
        "max_tokens": case.max_tokens or ENOUGH,
    }
    if case.usage:
        out["stream_options"] = {"include_usage": True}
    if case.n > 1:
        out["n"] = case.n
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
        tokens = (each.get("logprobs") or {}).get("tokens")
        if bool(tokens) != case.logprobs:
            found.append(f"log-probabilities {tokens}, asked for: {case.logprobs}")
        if tokens and "".join(tokens) != each["text"]:
            found.append(f"{tokens} are not the tokens of the text")
    return found + usage_problems(document.get("usage"))


def stream(case: Case, events: Sequence[Event]) -> list[str]:
    return completions_problems(events, usage=case.usage, n=case.n)


def failed_stream(events: Sequence[Event]) -> list[str]:
    return completions_problems(events, failed=True)


def said(document: dict[str, Any]) -> Said:
    choices = document["choices"]
    texts = tuple(each["text"] for each in choices)
    return Said(texts, (), choices[0]["finish_reason"], usage_of(document))


def streamed(events: Sequence[Event]) -> Said:
    texts: dict[int, str] = {}
    finish = usage = None
    for event in events:
        if event.data == DONE:
            break
        usage = usage_of(event.data) or usage
        for choice in event.data["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            finish = choice["finish_reason"] or finish
    return Said(tuple(texts.values()), (), finish, usage)


CONTRACT = Contract(
    "/v1/completions", body, whole, stream, failed_stream, openai_error_problems, said, streamed
)
