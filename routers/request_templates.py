"""Takes off what is put around a whole request and says nothing about what is asked: labels, turn marks,
a code fence, JSON, the standard preamble of an assistant, greetings and thanks in English.

A template is known by its form, and only at the ends of a text: what stands within a request stays. Pure
text; elements such as `<user_query>` are for `routers.harness_text`.
"""

import json
import re


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


NESTED = 4
"""Templates within templates that are taken off."""
END_CHARACTERS = 1_000
"""A template is looked for in so much at either end: a bound on what it may cost."""
JSON_CHARACTERS = 100_000
"""Longer texts are not parsed as JSON."""

# Quantifiers before what may fail are possessive, and runs of space are entered at their beginning alone: the
# time is linear in END_CHARACTERS, whatever a caller sends.
_ASKED = "question|query|instruction|instructions|prompt|request|task|problem|user|human|input|q"
_ANSWERED = "answer|response|output|solution|assistant|ai|model|bot|a"
_FIRST_LABEL = re.compile(
    rf"\A(?:\#{{1,6}}[ ]*(?:{_ASKED})[ ]*:?[ ]*\n|[*_]{{0,2}}(?:{_ASKED})[*_]{{0,2}}:[*_]{{0,2}}(?=\s))",
    re.IGNORECASE,
)
_LAST_LABEL = re.compile(
    rf"(?<!\s)[^\S\n]*+\n\s*+"
    rf"(?:\#{{1,6}}[ ]*(?:{_ANSWERED})[ ]*:?|[*_]{{0,2}}(?:{_ANSWERED})[*_]{{0,2}}:[*_]{{0,2}})\s*+\Z",
    re.IGNORECASE,
)
_TURN_MARK = (
    r"<\|[a-z_]{1,30}\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>|<<SYS>>|<</SYS>>|<\|begin_of_text\|>"
)
_ROLES = r"(?:(?:user|assistant|model|human)\b[ ]*\n?)?"
_FIRST_MARKS = re.compile(rf"\A\s*+(?:(?:{_TURN_MARK})\s*+{_ROLES}\s*+)++")
_LAST_MARKS = re.compile(rf"(?:(?<!\s)\s*+(?:{_TURN_MARK})\s*+{_ROLES}\s*+){{1,8}}+\Z")
_FENCE = re.compile(r"(`{3,8}|~{3,8})[ ]*(?:text|txt|plain|plaintext|markdown|md)?[ ]*\n")
_ELEMENT = re.compile(r"<(input|instruction|prompt|question|query|request|task)>")
_PREAMBLE = re.compile(
    r"""
    \A(?:
        (?:you\ are|you're|act\ as)\ [^\n.]{0,80}\b(?:assistant|chatbot|language\ model|AI)\b[^\n]{0,600}
        | a\ (?:chat|conversation)\ between\ [^\n]{0,80}\b(?:assistant|AI)\b[^\n]{0,600}
        | below\ is\ an?\ (?:instruction|question|task)\b[^\n]{0,300}
    )\n\s*(?=\S)
    """,
    re.VERBOSE | re.IGNORECASE,
)


_PLEASANT = _words(
    "a about advance afternoon again all am and any appreciate appreciated are as ask assistant be best can "
    "cheers could day dear do doing don't evening everyone excuse favor favour following for forward good "
    "grateful great greatly hand have hello help helping hey hi hope i i'd i'm if in is it kind kindly know "
    "let lot lots many may me mind moment morning much need nice of oh ok okay on please question quick "
    "really regards so some something sorry thank thanks that the there this thx time to today trouble up "
    "very was well with wondering would yes you your answer bother looking out here hear"
)
"""The words of greetings, pleas and thanks: a sentence at either end that has no others asks nothing."""
_THANKS = _words(
    "appreciate appreciated cheers favor favour grateful help kindly please regards thank thanks thx"
)
_OPENING = _THANKS | _words("dear evening excuse hello helping hey hi morning")
"""Words of which a sentence at the end, or at the beginning, has one."""
_FIRST_SENTENCE = re.compile(r"\A[^.!?:,\n]{2,120}(?:[.!?:,]+|\n)\s*")
_LAST_SENTENCE = re.compile(
    r"(?:(?<=[.!?\"')\]”])[ ]+|(?<!\s)[^\S\n]*+\n\s*+|(?<=\w)[ ]+(?=[A-Z]))(?=\S)[^.!?:\n]{2,120}[.!?]*\Z"
)
_WORD = re.compile(r"[\w']+")
LEAST_WORDS = 4
"""Fewer words beside a greeting are part of it: "Hi, how are you?"."""


def without_template(text: str) -> str:
    """`text` without the templates, greetings and thanks around it, stripped; the text itself where nothing
    would be left."""
    inner = text.strip()
    for _ in range(NESTED):
        less = _without_pleasantries(_unwrapped(inner))
        if less == inner or not less:
            break
        inner = less
    return inner or text


def _without_pleasantries(text: str) -> str:
    for sentence, signs in ((_FIRST_SENTENCE, _OPENING), (_LAST_SENTENCE, _THANKS)):
        at = 0 if sentence is _FIRST_SENTENCE else max(0, len(text) - END_CHARACTERS)
        found = sentence.search(text, at)
        if found is None or not _pleasant(found[0], signs):
            continue
        rest = (text[: found.start()] + text[found.end() :]).strip()
        if len(rest.split(maxsplit=LEAST_WORDS)) >= LEAST_WORDS:
            text = rest
    return text


def _pleasant(sentence: str, signs: frozenset[str]) -> bool:
    words = set(_WORD.findall(sentence.lower().replace("’", "'")))
    return words <= _PLEASANT and not words.isdisjoint(signs)


def _unwrapped(text: str) -> str:
    if (inner := _inner(text)) is not None:
        return inner.strip()
    text = _at_start(_FIRST_LABEL, _at_start(_FIRST_MARKS, text))
    text = _at_end(_LAST_LABEL, _at_end(_LAST_MARKS, text))
    return _at_start(_PREAMBLE, text.strip()).strip()


def _inner(text: str) -> str | None:
    """What one fence, element or JSON object around the whole text holds."""
    if (fence := _FENCE.match(text)) is not None and text.endswith(fence[1]):
        inner = text[fence.end() : -len(fence[1])]
        return None if fence[1] in inner else inner
    if (element := _ELEMENT.match(text)) is not None and text.endswith(end := f"</{element[1]}>"):
        inner = text[element.end() : -len(end)]
        return None if end in inner else inner
    return _json_value(text)


def _at_start(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub("", text[:END_CHARACTERS]) + text[END_CHARACTERS:]


def _at_end(pattern: re.Pattern[str], text: str) -> str:
    return text[:-END_CHARACTERS] + pattern.sub("", text[-END_CHARACTERS:])


_KEYS = _words("content input instruction message problem prompt query question request task text user_input")


def _json_value(text: str) -> str | None:
    """The one text of a JSON object that says by its key that it holds the request."""
    if not (text[:1] == "{" and text[-1:] == "}" and len(text) <= JSON_CHARACTERS):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if len(document) != 1:
        return None
    ((key, value),) = document.items()
    return value if key.lower() in _KEYS and isinstance(value, str) else None
