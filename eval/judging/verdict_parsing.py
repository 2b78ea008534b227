"""Parsing verdicts: JSON by schema, or text with double square brackets. The last verdict that the judge
gives in its own name counts; unparsable and ambiguous text is None, never a tie."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from eval.judging.judge_prompts import LABELS, Scale
from eval.judging.quoted_text import JSON_PLACE, JudgeReply

LOWEST, HIGHEST = 1.0, 10.0

_BRACKETS = re.compile(r"\[\[([^\[\]\n]{1,40})\]\](?!\()")
_OTHER_BRACKETS = re.compile(
    r"(?<!\[)\[([^\[\]\n]{1,40})\](?![\](])|\(\(([^()\n]{1,40})\)\)|\\boxed\{([^{}\n]{1,40})\}"
)
_RATING_SAID = re.compile(
    r"(?:\b(?:rating|bewertung|puntuación|calificación|valutazione|nota|pontuação|avaliação|ocena|beoordeling"
    r"|betyg|puan|оценка|оцінка|điểm|note(?=\W{1,6}[\d.,]{1,4}\s?/\s?10))|评分|評分|評価|평점|점수|التقييم|تقييم|คะแนน|रेटिंग)\W{0,6}"
    r"(\d{1,2}(?:[.,]\d+)?(?:\s?/\s?10)?)(?!\d|\s?/|[.,]\d)",
    re.IGNORECASE,
)
_LABEL_SAID = re.compile(
    r"(?:\b(?:verdict|winner|judge?ment|urteil|verdict|veredicto|verdetto|werdykt|verdicto|вердикт)|الحكم|结论|結論|判决|判定)[*_\"'\s:=>-]{1,8}(?:is\s)?"
    r"[*_\"'(]{0,4}((?:assistant\s|answer\s|model\s)?(?:[ABC](?:\s?[<>=]{1,3}\s?[AB])?|tie|draw))(?!\w|[<>=](?!/)|'\w)",
    re.IGNORECASE,
)
_RATING = re.compile(r"(?:rating|score)?\s?:?\s?(\d{1,2}(?:[.,]\d+)?)(?:\s?/\s?10)?", re.IGNORECASE)
_NUMERIC = re.compile(r"[\d.,/\s+-]+")
_LABEL_LIKE = re.compile(
    r"[ABC<>=]+|TIE|DRAW|EQUAL|SAME|BOTH|NEITHER|平|平局|引き分け|무승부|UNENTSCHIEDEN|EMPATE"
)
_TIES = frozenset({"TIE", "DRAW", "EQUAL", "SAME", "BOTH", "NEITHER", "平", "平局", "引き分け", "무승부"}) | {
    *("UNENTSCHIEDEN", "EMPATE"),
}
_SIGNS = str.maketrans({"≫": ">>", "≪": "<<", "≈": "=", "≃": "=", "~": "=", "≻": ">", "≺": "<"})
_SAME = {
    "A": "A>B", "B": "B>A", "C": "A=B", "B=A": "A=B", "A==B": "A=B", "B==A": "A=B", "A=B=": "A=B",
    "B<A": "A>B", "B<<A": "A>>B", "A<B": "B>A", "A<<B": "B>>A",
}  # fmt: skip
_BETWEEN_OPTIONS = re.compile(
    r"[\s,;/|、*_]*(?:n?or|and|to|oder|und|或|または|-)?[\s,;/|、*_]*", re.IGNORECASE
)

Found = tuple[int, int, "float | str | None"]
"""Start, end and value of what looks like a verdict; None for one that is out of range or malformed."""


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
    """The rating 1..10 that the judge gives last in its own name: JSON or `[[N]]`, else another bracket, else
    "Rating: N"."""
    value = _last_own(text, "rating", _rating, _RATING_SAID)
    return value if isinstance(value, float) else None


def read_label(text: str, scale: Scale) -> str | None:
    """The label, one of `LABELS[scale]`, that the judge gives last in its own name: JSON or `[[...]]`, else
    another bracket, else "Verdict: ...". On the three-way scale much better counts as better."""

    def read(said: object) -> str | None:
        return _label(said, scale)

    value = _last_own(text, "verdict", read, _LABEL_SAID)
    return value if isinstance(value, str) else None


def _last_own(
    text: str, key: str, read: Callable[[object], float | str | None], said: re.Pattern[str]
) -> float | str | None:
    reply = JudgeReply.of(text)
    looks = _looks_like_rating if key == "rating" else _looks_like_label
    objects, own = list(_objects(reply, key, read)), _brackets(reply, _BRACKETS, looks, read)
    if objects and own and objects[-1][0] > own[-1][0] and objects[-1][2] != own[-1][2]:
        return None  # Does it quote the JSON, or change its mind?
    own = sorted([*objects, *own], key=lambda each: each[0])
    if not own:
        own = [
            each for each in _brackets(reply, _OTHER_BRACKETS, looks, read) if _stands_out(reply.text, each)
        ]
    if not own and not _is_cut_off(reply.text):
        own = [
            (match.start(), match.end(), read(match.group(1)))
            for match in said.finditer(reply.text)
            if reply.is_own(*match.span())
        ]
    return own[-1][2] if own else None


def _objects(reply: JudgeReply, key: str, read: Callable[[object], float | str | None]) -> Iterator[Found]:
    places = [place for place, character in enumerate(reply.text) if character == JSON_PLACE]
    for place, found in zip(places, reply.objects, strict=True):
        values = _values(found, key)
        if values and reply.is_own_object(place):
            # Of several, deeper down, nobody says which one is the verdict.
            yield place, place + 1, read(values[0]) if len(values) == 1 else None


def _values(document: Mapping[str, Any], key: str) -> list[object]:
    """What the fields called `key` hold; where there is none, those of the objects inside."""
    own = [value for name, value in document.items() if name.strip().lower() == key]
    inner = [each for value in document.values() if isinstance(value, dict) for each in _values(value, key)]
    return own or inner


def _brackets(
    reply: JudgeReply,
    brackets: re.Pattern[str],
    looks: Callable[[str], bool],
    read: Callable[[object], float | str | None],
) -> list[Found]:
    text = re.sub(r"\\([\[\]<>=])", r" \1", reply.text)  # Markdown's escapes
    found: list[Found] = []
    for match in brackets.finditer(text.replace("[ [", " [[").replace("] ]", "]] ")):
        inside = next(group for group in match.groups() if group is not None)
        if looks(inside) and reply.is_own(*match.span()):
            found.append((match.start(), match.end(), read(inside)))
    return _without_options(text, found)


def _without_options(text: str, found: Sequence[Found]) -> list[Found]:
    """Without lists of what may be said, such as "[[A]], [[B]] or [[C]]"."""
    listed: set[int] = set()
    for place, (one, other) in enumerate(pairwise(found)):
        if text[one[0] : one[1]] != text[other[0] : other[1]] and _BETWEEN_OPTIONS.fullmatch(
            text, one[1], other[0]
        ):
            listed |= {place, place + 1}
    return [each for place, each in enumerate(found) if place not in listed]


def _stands_out(text: str, found: Found) -> bool:
    """Whether a verdict in single brackets cannot be the name of an answer: `[A>B]`, or `[A]` at the end of a
    line behind nothing or a colon."""
    start, end, _ = found
    if re.search(r"[<>=]", text[start:end]):
        return True
    line = text[text.rfind("\n", 0, start) + 1 : start].strip(" *_")
    after = text[end:].partition("\n")[0].strip(" *_.")
    return (not line or line.endswith(":")) and not after


def _is_cut_off(text: str) -> bool:
    """Whether the reply is JSON that was never closed, whose last figure may lack digits."""
    return text.lstrip().startswith("{") and not text.rstrip().endswith("}")


def _looks_like_rating(inside: str) -> bool:
    return bool(_NUMERIC.fullmatch(inside) or _RATING.fullmatch(inside.strip()))


def _rating(said: object) -> float | None:
    if isinstance(said, str):
        match = _RATING.fullmatch(said.strip())
        said = float(match.group(1).replace(",", ".")) if match else None
    if not isinstance(said, int | float) or isinstance(said, bool):
        return None
    return float(said) if LOWEST <= said <= HIGHEST else None


def _looks_like_label(inside: str) -> bool:
    return _LABEL_LIKE.fullmatch(_plain_label(inside)) is not None


def _plain_label(said: str) -> str:
    plain = said.replace("&gt;", ">").replace("&lt;", "<").translate(_SIGNS)
    plain = re.sub(r"\\(?:gg|succ\s?\\?succ)\b", ">>", plain)
    plain = re.sub(r"\\ll\b", "<<", plain)
    plain = re.sub(r"\\(?:approx|sim|equiv)\b", "=", plain)
    plain = re.sub(
        r"^\W*(?:verdict|assistant|answer|model|response)\b\W*", "", plain.strip(), flags=re.IGNORECASE
    )
    return re.sub(r"\s", "", plain).upper()


def _label(said: object, scale: Scale) -> str | None:
    if not isinstance(said, str):
        return None
    label = _plain_label(said)
    label = "A=B" if label in _TIES else _SAME.get(label, label)
    if scale is Scale.THREE:
        label = label.replace(">>", ">")
    return label if label in LABELS[scale] else None
