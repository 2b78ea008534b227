"""Parsing verdicts: JSON by schema, or text with double square brackets. Unparsable text is None, never a
tie."""

import re
from typing import Any

from eval.judging.judge_prompts import LABELS, Scale
from eval.reply_parsing import read_objects

LOWEST, HIGHEST = 1.0, 10.0

_RATING = re.compile(r"\[\[\s*(\d{1,2}(?:\.\d+)?)\s*\]\]")
_RATING_LOOSE = re.compile(r"\brating\b\W{0,6}(\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?(?![\d/])", re.IGNORECASE)
_LABEL = re.compile(r"\[\[\s*([ABC<>=]{1,4}|tie)\s*\]\]", re.IGNORECASE)
_LABEL_LOOSE = re.compile(r"\[\s*([ABC<>=]{1,4}|tie)\s*\]", re.IGNORECASE)
_SAME = {
    "A": "A>B", "B": "B>A", "C": "A=B", "TIE": "A=B", "B=A": "A=B",
    "B<A": "A>B", "B<<A": "A>>B", "A<B": "B>A", "A<<B": "B>>A",
}  # fmt: skip


def schema(scale: Scale, *, explain: bool) -> dict[str, Any]:
    """The `response_format` of a verdict, optionally after an explanation."""
    if scale is Scale.RATING:
        name, verdict = "rating", {"type": "integer", "enum": list(range(int(LOWEST), int(HIGHEST) + 1))}
    else:
        name, verdict = "verdict", {"type": "string", "enum": list(LABELS[scale])}
    properties: dict[str, Any] = {"explanation": {"type": "string"}} if explain else {}
    properties[name] = verdict
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "judgment",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }


def read_rating(text: str) -> float | None:
    """The rating 1..10: from JSON, else the last `[[N]]`, else the last "Rating: N"."""
    for found in reversed(read_objects(text)):
        value = found.get("rating")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if LOWEST <= value <= HIGHEST else None
    said = _RATING.findall(text) or _RATING_LOOSE.findall(text)
    if not said:
        return None
    value = float(said[-1])
    return value if LOWEST <= value <= HIGHEST else None


def read_label(text: str, scale: Scale) -> str | None:
    """The label, one of `LABELS[scale]`: from JSON, else the last `[[...]]`, else `[...]`. On the three-way
    scale much better counts as better."""
    for found in reversed(read_objects(text)):
        if isinstance(value := found.get("verdict"), str):
            return _label(value, scale)
    said = _LABEL.findall(text) or _LABEL_LOOSE.findall(text)
    return _label(said[-1], scale) if said else None


def _label(text: str, scale: Scale) -> str | None:
    label = re.sub(r"\s", "", text).upper()
    label = _SAME.get(label, label)
    if scale is Scale.THREE:
        label = label.replace(">>", ">")
    return label if label in LABELS[scale] else None
