"""Make a model's Markdown safe and right for the page.

Code is left alone. Elsewhere: images become links, since loading one tells its server what was said;
`\\( … \\)` and `\\[ … \\]` become the page's own mathematics, and a dollar sign that is no mathematics
("between $5 and $10") stays a dollar sign.
"""

import re

CODE = re.compile(
    r"(?P<fence>^[ ]{0,3}(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?(?:^[ ]{0,3}(?P=ticks)[`~]*[ ]*$|\Z))"
    r"|(?P<span>(?<!`)(?P<quote>`+)(?!`).+?(?<!`)(?P=quote)(?!`))",
    re.MULTILINE | re.DOTALL,
)
IMAGE = re.compile(r"!(?=\[)")
# The rule of pandoc: no space inside either sign, and no digit after the closing one.
MATHS = re.compile(
    r"(?P<block>\$\$.+?\$\$)"
    r"|(?P<maths>(?<![\\$])\$(?![\s$])[^$\n]*?(?<![\s\\])\$(?![\d$]))"
    r"|(?P<dollar>(?<!\\)\$)",
    re.DOTALL,
)
BRACKETS = re.compile(r"\\\((?P<inline>.+?)\\\)|\\\[(?P<block>.+?)\\\]", re.DOTALL)


def readable_answer(text: str) -> str:
    """The Markdown to show for what a model said; works on a text that is still growing."""
    pieces = []
    start = 0
    for code in CODE.finditer(text):
        pieces.append(_prose(text[start : code.start()]))
        pieces.append(code.group())
        start = code.end()
    pieces.append(_prose(text[start:]))
    return "".join(pieces)


def _prose(text: str) -> str:
    text = IMAGE.sub("", text)
    text = BRACKETS.sub(_in_dollars, text)
    return MATHS.sub(lambda found: "\\$" if found["dollar"] else found.group(), text)


def _in_dollars(found: re.Match[str]) -> str:
    if found["inline"] is not None:
        return f"${found['inline'].strip()}$"
    return f"\n$$\n{found['block'].strip()}\n$$\n"


def plain(text: str) -> str:
    """Text from outside as plain text inside Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~$:])", r"\\\1", text)
