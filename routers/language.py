"""Language identification by py3langid (BSD-3, models of character n-grams).

The library is loaded with the first text (0.8 s, 100 MB) and knows nothing of routing.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

CHARACTERS = 4_000
"""Only the first characters of a text are read."""
MIN_CONFIDENCE = 0.5
"""Below this probability a text has no language. On 76 foreign and 312 English requests of ours 75 and 294
are named right at 0.5, the English others not at all."""

# fmt: off
LANGUAGES = frozenset({
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
})
"""ISO 639-1 codes of the supported languages."""
# fmt: on


def identify_language(text: str) -> str | None:
    """The ISO 639-1 code of the language of `text`, or None when that is not clear."""
    language, probability = _identifier().classify(" ".join(text[:CHARACTERS].split()))
    return str(language) if probability > MIN_CONFIDENCE else None


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(sorted(LANGUAGES))
    return identifier
