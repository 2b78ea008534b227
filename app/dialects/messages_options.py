"""How an answer is to be, in Anthropic's words and in those of chat completions: effort, form, for whom."""

from collections.abc import Mapping
from typing import Any

from app.errors import ServiceError

EFFORTS: Mapping[str, str] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""`output_config.effort` as `reasoning_effort`: its three values that all servers know."""
LOW_BUDGET, MEDIUM_BUDGET = 4_096, 16_384
"""Thinking budgets, in tokens, up to which the effort is low and medium."""
USER_LENGTH = 64
"""Longest `user` that servers take; Claude Code's `metadata.user_id` is longer and left out."""


def chat_options(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a chat completion request. Raises ServiceError (400) for an unknown output format."""
    return _effort(document) | _format(document) | _user(document)


def _effort(document: Mapping[str, Any]) -> dict[str, Any]:
    """`reasoning_effort` for `output_config.effort`, or for the budget of `thinking`."""
    effort = (document.get("output_config") or {}).get("effort")
    if isinstance(effort, str) and effort in EFFORTS:
        return {"reasoning_effort": EFFORTS[effort]}
    thinking = document.get("thinking") or {}
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return {}
    if budget <= LOW_BUDGET:
        return {"reasoning_effort": "low"}
    return {"reasoning_effort": "medium" if budget <= MEDIUM_BUDGET else "high"}


def _format(document: Mapping[str, Any]) -> dict[str, Any]:
    """`response_format` for `output_config.format`, or its older name `output_format`."""
    path = "output_config.format"
    wanted = (document.get("output_config") or {}).get("format")
    if wanted is None:
        path, wanted = "output_format", document.get("output_format")
    if wanted is None:
        return {}
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise ServiceError(
            400, "invalid_value", f"{path}: must be of type json_schema, with a schema.", param=path
        )
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    }


def _user(document: Mapping[str, Any]) -> dict[str, Any]:
    user = (document.get("metadata") or {}).get("user_id")
    return {"user": user} if isinstance(user, str) and len(user) <= USER_LENGTH else {}
