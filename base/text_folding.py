"""Spellings of one text made equal: Unicode's compatibility forms, typographic quotes, hyphens and blanks,
and case. Knows nothing of words, nor of what is read out of a text.
"""

import re
import unicodedata

MAX_REPLY_CHARS = 100_000
"""What lies beyond is not read; no check asks for an answer that long."""

_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’ʼ‛′´＇", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff", None),
        "‴": "'''",
        "‷": "'''",
    }
)
# NFKC but for superscripts, subscripts and fractions: "x²" is not "x2", nor "CO₂" "CO2".
_COMPATIBLE = re.compile(
    r"[^\u00aa\u00b2\u00b3\u00b9\u00ba\u00bc-\u00be\u2070-\u209c\u2120\u2122\u2150-\u215f\u2189]+"
)


def normalise(text: str, limit: int | None = MAX_REPLY_CHARS) -> str:
    """The first `limit` characters of `text` with composed letters, ordinary instead of full-width or
    ornamental characters, plain quotes, hyphens and spaces; its case kept."""
    text = text[:limit].translate(_TYPOGRAPHY)
    return text if text.isascii() else _compatible(_compatible(text).translate(_TYPOGRAPHY))


def fold(text: str, limit: int | None = MAX_REPLY_CHARS) -> str:
    """`text` normalised, without case, every run of white space a single space."""
    text = normalise(text, limit)
    folded = text.lower() if text.isascii() else _compatible(_compatible(text.casefold()).casefold())
    return " ".join(folded.split())


def _compatible(text: str) -> str:
    return _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
