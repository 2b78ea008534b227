"""Defaults behind request fields: an arm's sampling over its base's, a request over its expert's."""

from collections.abc import Mapping
from typing import Any

from experts.adaptations import LIMIT_FIELDS

KEY_BY_KEY = "chat_template_kwargs"
"""The field whose keys are settings of their own."""


def with_defaults(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`fields`, and of `defaults` what they do not say; null says nothing, and one limit has two names."""
    merged = dict(fields)
    limited = any(fields.get(name) is not None for name in LIMIT_FIELDS)
    for name, value in defaults.items():
        if limited and name in LIMIT_FIELDS:
            continue
        own = merged.get(name)
        if own is None:
            merged[name] = value
        elif name == KEY_BY_KEY and isinstance(own, Mapping) and isinstance(value, Mapping):
            merged[name] = {**value, **own}
    return merged
