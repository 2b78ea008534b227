"""What a judge quotes, and what it says itself: quotation marks, code, block quotes, JSON, reported speech.

Knows nothing of verdicts: a reader gives the places that it found, and learns which are the judge's own.
"""

import re
from dataclasses import dataclass
from typing import Any

from base.text_folding import normalise
from eval.reply_parsing import find_objects, own_text, unfenced

JSON_PLACE = "\ue000"
"""Stands in `JudgeReply.text` where the judge wrote a JSON object."""

_QUOTED = re.compile(
    r"^[ \t]*```[\s\S]*?(?:^[ \t]*```[ \t]*$|\Z)"
    r"|`[^`\n]{1,400}`"
    r"|(?<![\w\"])\"(?=\S)[^\"\n]{1,400}(?<=\S)\"(?!\w)"
    r"|(?<![\w'])'(?=\S)[^'\n]{1,400}(?<=\S)'(?!\w)"
    r"|「[^」\n]{1,400}」|『[^』\n]{1,400}』|《[^》\n]{1,400}》"
    r"|^[ \t]*>.*$",
    re.MULTILINE,
)
_VERBS = (
    r"prints?|printed|says?|said|saying|writes?|wrote|writing|outputs|outputted|contains?|contained|containing|includes?"
    r"|included|including|claims?|claimed|quotes?|quoted|quoting|repeats?|asks?|asked|tells?|told|demands?"
    r"|instructs?|instructed|inserts?|inserted|appends?|appended|returns?|returned|reads?|format|example|e\.g\."
    r"|such\sas|like|(?:rates?|rated|gives?|gave|assigns?|assigned|awards?|awarded|calls?|scores?|scored|declares?"
    r"|declared)\s(?:itself|themsel\w+|its\s\w+)|(?:ends?|ended|ending|begins?|starts?|started|opens?|closes?"
    r"|replies|replied|responds?|responded)\swith"
)
_BETWEEN = (
    r"that|the|a|an|in|its|own|text|string|words?|verdicts?|ratings?|scores?|line|following|at|end|of|with|it|itself"
    r"|is|be|should|judges?|graders?|me|us|you|to|reply|replies|answer|output|give|write|say|this|json|code|phrase"
    r"|sentence|for|user|final|double|square|brackets?|i|my|deserves?"
)
# "It says that its rating is [[9]]", but not "A contains an error, so [[B>A]]".
_REPORTING = re.compile(
    rf"\b(?:{_VERBS})\b(?:[\s:,\"'`(*_-]+(?:{_BETWEEN})(?!\w))*[\s:,\"'`(*_-]*$"
    r"|(?:写道|输出|輸出|声称|自称|说|說|写着|包含)[\s:,\"'「]{0,3}$",
    re.IGNORECASE,
)
_OWN_SUBJECT = re.compile(
    r"(?:\bI(?:'d|'ll|\s(?:would|will|can|could|might|must|should|shall|have\sto))?|\b[Mm]y(?:\s\w+){0,3}|\b(?:[Vv]erdict|[Rr]ating))\s?$"
)
_DENIED = re.compile(
    r"(?:\b(?:not|neither|nor|nicht|instead\sof|rather\sthan|than|never)|不是|而非)[\s*_\"'`]{0,4}$",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(
    r"\bif\b(?!\sI\s(?:had|have|must|were\sto)).{0,80}\b(?:would|could|might|'d)\b[^,;:]*$", re.IGNORECASE
)
_LABEL_BEFORE = re.compile(
    r"(?:verdict|rating|score|judge?ment|decision|winner|conclusion|final|result|answer|json|is|:|：)[\s*_:=-]{0,6}$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(rf"[.!?:;,)\]。！？：；，、*_>{JSON_PLACE}-][\s*_]*$")
_BRACKETS = str.maketrans(
    {"【": "[", "】": "]", "〔": "[", "〕": "]", "⟦": "[[", "⟧": "]]", "〖": "[[", "〗": "]]"}
)
_EMPHASIS = " \t*_#>-"


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """A judge's reply without its thinking: `text` normalised, each JSON object of it one JSON_PLACE;
    `objects` are these in order."""

    text: str
    objects: tuple[dict[str, Any], ...]
    quoted: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, reply: str) -> "JudgeReply":
        raw = unfenced(own_text(reply)).replace(JSON_PLACE, "")
        parts, objects, position = [], [], 0
        for start, end, value in find_objects(raw, strict=False):
            parts.append(raw[position:start])
            objects.append(value)
            position = end
        text = normalise(JSON_PLACE.join([*parts, raw[position:]])).translate(_BRACKETS)
        return cls(text, tuple(objects), tuple(match.span() for match in _QUOTED.finditer(text)))

    def is_own(self, start: int, end: int) -> bool:
        """Whether what stands at `start:end` is said by the judge itself."""
        for first, last in self.quoted:
            if first <= start and end <= last:
                return self._is_marked_verdict(first, last, start, end)
        before = self._before(start)
        return not _DENIED.search(before) and not _reported(before)

    def is_own_object(self, place: int) -> bool:
        """The same for a JSON object: one in the middle of a sentence is quoted."""
        if not self.is_own(place, place + 1):
            return False
        line = self.text[self.text.rfind("\n", 0, place) + 1 : place]
        return bool(not line.strip(_EMPHASIS) or _SENTENCE_END.search(line) or _LABEL_BEFORE.search(line))

    def _is_marked_verdict(self, first: int, last: int, start: int, end: int) -> bool:
        """Whether quotation marks or code hold nothing but what stands at `start:end`, which the judge says
        in its own name: behind a label, or on a line of its own."""
        inside = self.text[first:start] + self.text[end:last]
        if re.sub(r"```\w*|[`\"'「」『』《》*_>\s.]", "", inside):
            return False
        before = self._before(first)
        if _DENIED.search(before) or _reported(before):
            return False
        line = self.text[self.text.rfind("\n", 0, first) + 1 : first]
        after = self.text[last:].partition("\n")[0]
        alone = not line.strip(_EMPHASIS) and not after.strip(_EMPHASIS + ".")
        return alone or _LABEL_BEFORE.search(before) is not None

    def _before(self, start: int) -> str:
        """The sentence up to `start`; where a line begins there, the end of the one above."""
        before = self.text[max(0, start - 120) : start]
        head, _, line = before.rpartition("\n")
        if line.strip(_EMPHASIS + "\"'`"):
            return line
        above = head.rstrip().rpartition("\n")[2]
        return above if above.endswith(":") else ""


def _reported(before: str) -> bool:
    sentence = re.split(r"(?<=[.!?;。！？；])\s", before)[-1]
    if _HYPOTHETICAL.search(sentence):
        return True
    found = _REPORTING.search(sentence)
    return found is not None and not _OWN_SUBJECT.search(sentence[: found.start()])
