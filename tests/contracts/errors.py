"""The shapes that errors have, whole or as an event."""

from typing import Any

from anthropic.types import ErrorResponse

from tests.contracts.validation import problems


def openai_error_problems(document: Any) -> list[str]:
    """`{"error": {"message", "type", "param", "code"}}`, and nothing else; every field is there."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or set(document) != {"error"}:
        return [f"{document} is no error document"]
    found = []
    if set(error) != {"message", "type", "param", "code"}:
        found.append(f"an error with {sorted(error)}")
    for name in ("message", "type", "code"):
        if not isinstance(error.get(name), str) or not error[name]:
            found.append(f"the error's {name} is {error.get(name)!r}")
    if not isinstance(error.get("param"), str | None):
        found.append(f"the error's param is {error.get('param')!r}")
    return found


def anthropic_error_problems(document: Any) -> list[str]:
    """Anthropic's `{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    return problems(ErrorResponse, document)
