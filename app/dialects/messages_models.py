"""Models as Anthropic's API lists them.

https://platform.claude.com/docs/en/api/models/list
"""

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""Anthropic's own value where nobody knows."""


def anthropic_models(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """OpenAI's model documents as one page, the only one."""
    data = [anthropic_model(model) for model in models]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}


def anthropic_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """One of OpenAI's model documents. The answer's limit is the context: there is no other."""
    context = model.get("context_length")
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }
