"""The parts of a model's reply: its thinking, code fences, LaTeX. Knows nothing of what is asked for."""

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from base.text_folding import MAX_REPLY_CHARS

_TAGS = r"think|thinking|thought|reasoning|reflection|scratchpad"
_THOUGHT_MARK = re.compile(rf"</?(?:{_TAGS})>|\[/?THINK\]|◁/?think▷", re.IGNORECASE)
_THOUGHT_END = re.compile(rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_THOUGHT_START = re.compile(rf"<(?:{_TAGS})>|\[THINK\]|◁think▷", re.IGNORECASE)
_MARK = re.compile(r"[<\[◁]")
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf)?|math(?:rm|bf|it|sf|tt)|operatorname|mbox)\s*\{([^{}]*)\}"
)


def text_of_message(message: Any) -> str:
    """The text of a message or delta; reasoning is no part of it."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def own_text(reply: str) -> str:
    """A reply without its thinking: a block that never ends reaches to the end, one that never began to
    the beginning."""
    text = reply[:MAX_REPLY_CHARS]
    if not _MARK.search(text) or not (_THOUGHT_END.search(text) or _THOUGHT_START.search(text)):
        return text
    text = _without_blocks(text)
    ends = list(_THOUGHT_END.finditer(text))
    text = text[ends[-1].end() :] if ends else text
    start = _THOUGHT_START.search(text)
    return text[: start.start()] if start else text


def _without_blocks(text: str) -> str:
    """`text` without the blocks of thinking that end, in one pass: a model may repeat a tag for ever."""
    marks = list(_THOUGHT_MARK.finditer(text))
    ends: dict[str, deque[re.Match[str]]] = defaultdict(deque)
    for mark in marks:
        if "/" in mark.group():
            ends[mark.group().replace("/", "").lower()].append(mark)
    kept, at = [], 0
    for mark in marks:
        if "/" in mark.group() or mark.start() < at:
            continue
        later = ends[mark.group().lower()]
        while later and later[0].start() < mark.end():
            later.popleft()
        if later:
            kept.append(text[at : mark.start()])
            at = later[0].end()
    return "".join([*kept, text[at:]])


def fenced_blocks(reply: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block; one that never closes reaches to the end."""
    return [(m.group(1).lower(), m.group(2)) for m in _FENCE.finditer(reply[:MAX_REPLY_CHARS])]


def unfenced(reply: str) -> str:
    """The content of the fence when the whole reply is one fenced block, otherwise the reply itself."""
    text = reply[:MAX_REPLY_CHARS].strip()
    match = _FENCE.match(text)
    return match.group(2).strip() if match and match.end() == len(text) else text


def boxed(text: str) -> str | None:
    """The content of the last `\\boxed{}`."""
    boxes = _BOXED.findall(text)
    return boxes[-1] if boxes else None


def unboxed(text: str) -> str:
    """The content of the box when the whole text is one, otherwise the text itself."""
    box = _BOXED.fullmatch(text.strip(" $.\n"))
    return str(box.group(1)) if box else text


def plain_latex(text: str, between: str = "") -> str:
    """`text` with the content of `\\text{}` and its like, `between` on both sides."""
    return _LATEX_TEXT.sub(lambda match: f"{between}{match.group(1)}{between}", text)
