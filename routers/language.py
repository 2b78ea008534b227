"""Which language a text is written in, by its script and its commonest words.

Small and honest rather than clever: it tells apart the languages below in texts of some ten words or
more. It returns None when it cannot say, and it knows no other language.
"""

import re
import unicodedata
from collections import Counter

CHARACTERS = 4_000
"""What is read of a text: enough to tell, and a bound on the work."""

_STOP_WORDS = {
    "cs": """
        a je se na to že v s z do jsem jsou který ale jako byl pro být také nebo když jeho tak už po
        ve o
    """,
    "da": """
        og i jeg det at en den til er som på de med han af for ikke der var mig sig men et har om vi
        min havde hun nu hvad meget noget efter fra være blev bliver også vil skal kan
    """,
    "de": """
        der die das und ist in den von zu mit sich auf für nicht ein eine als auch es an werden aus
        er hat dass sie wird bei sind im dem wir ich zum
    """,
    "en": """
        the of and to in is that it was for on are as with his they at be this have from or had by
        but not what all were we when your can there an she which you
    """,
    "es": """
        el la de que y en un una los las se por con no es su para al lo como más pero sus le ya o
        este sí porque muy del está son hay
    """,
    "fi": """
        ja on ei se että hän oli mutta ovat myös kun niin joka olla tai minä sinä me te he tämä kuin
        vain nyt jos mitä
    """,
    "fr": """
        le la les de des et est un une du en que qui dans il elle pour pas sur ne se au plus par
        avec ce sont nous vous mais ou cette son ses aux je
    """,
    "hu": """
        a az és hogy nem is egy van ez de mint már csak meg ki volt el vagy ha még kell lesz minden
        nagyon itt azt
    """,
    "id": """
        yang dan di dari untuk dengan ini itu pada tidak adalah dalam akan ke saya ada bisa juga
        kami mereka oleh atau karena sebagai anda
    """,
    "it": """
        il lo la i gli le di che e è un una in per con non si del della dei delle al alla sono come
        più ma anche da nel questo mi ha suo
    """,
    "nl": """
        de het een en van in is dat op te zijn met voor niet aan er om ook als maar bij door naar
        dan ze uit nog wordt heeft wij je
    """,
    "no": """
        og i jeg det at en den til er som på de med han av for ikke der var meg seg men et har om vi
        min hadde hun nå fra ikke hva mye noe etter være ble blir også vil skal kan
    """,
    "pl": """
        i w nie na się z do to że jest jak o a po co tak ale od za przez dla są był jego tym ma już
        czy lub oraz
    """,
    "pt": """
        o a os as de que e do da em um uma para é com não por mais dos das como mas foi ao ele ela
        seu sua ou ser quando muito há nos está
    """,
    "ro": """
        și de în la cu a pe nu este un o că din se care mai pentru sau sunt ca dar fi am ai al lui
        fost prin după
    """,
    "sv": """
        och i att det som en på är av för med till den har de inte om ett han men var jag sig från
        vi så kan hon när nu
    """,
    "tr": """
        ve bir bu da de için ile ne çok gibi daha olarak o ben sen biz var yok ama en kadar olan
        değil mi her sonra ki
    """,
    "vi": """
        và của là có không được cho các một những trong người với tôi này đó khi đã sẽ từ rất để bạn
    """,
}
_SETS = {code: frozenset(words.split()) for code, words in _STOP_WORDS.items()}

# Letters that few of the languages above use, worth as much as a stop word each.
_LETTERS = {
    "cs": "řěů",
    "da": "æøå",
    "de": "ßäöü",
    "es": "ñ¿¡",
    "fi": "äö",
    "fr": "çœêèù",
    "hu": "őűöü",
    "it": "èùò",
    "no": "æøå",
    "pl": "łąęż",
    "pt": "çãõê",
    "ro": "șță",
    "sv": "åäö",
    "tr": "çğışöü",
    "vi": "ăđơư",
}

_SCRIPTS = {
    "ja": "\u3040-\u30ff",
    "zh": "\u3400-\u9fff",
    "ko": "\uac00-\ud7af",
    "el": "\u0370-\u03ff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff",
    "hi": "\u0900-\u097f",
    "th": "\u0e00-\u0e7f",
    "ru": "\u0400-\u04ff",
}
_SCRIPT_PATTERNS = {code: re.compile(f"[{span}]") for code, span in _SCRIPTS.items()}
_UKRAINIAN, _RUSSIAN_ONLY = re.compile("[іїєґ]"), re.compile("[ыэъё]")
_FARSI = re.compile("[پچژگ]")

LANGUAGES = frozenset(_SETS) | frozenset(_SCRIPTS) | {"uk", "fa"}
"""ISO 639-1 codes of the languages that can be told apart."""


def identify_language(text: str) -> str | None:
    """The ISO 639-1 code of the language of `text`, or None when two are as likely or none is known."""
    # Lower case, but not case-folded, which would turn ß into ss.
    folded = unicodedata.normalize("NFC", text[:CHARACTERS]).lower()
    letters = sum(char.isalpha() for char in folded)
    if not letters:
        return None
    by_script = _by_script(folded, letters)
    if by_script is not None:
        return by_script
    words = re.findall(r"[^\W\d_]+", folded)
    points: Counter[str] = Counter()
    for word in words:
        points.update(code for code, known in _SETS.items() if word in known)
    for char in folded:
        points.update(code for code, known in _LETTERS.items() if char in known)
    ranked = points.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    # A name or two in another language must not decide for a long text of unknown words.
    return ranked[0][0] if ranked[0][1] >= max(1, len(words) // 12) else None


def _by_script(folded: str, letters: int) -> str | None:
    counts = {code: len(pattern.findall(folded)) for code, pattern in _SCRIPT_PATTERNS.items()}
    if counts["ja"] and counts["ja"] + counts["zh"] > letters / 2:
        return "ja" if counts["ja"] > 0.1 * counts["zh"] else "zh"
    code, count = max(counts.items(), key=lambda item: item[1])
    if count <= letters / 2:
        return None
    if code == "ru":
        return "uk" if len(_UKRAINIAN.findall(folded)) > len(_RUSSIAN_ONLY.findall(folded)) else "ru"
    if code == "ar":
        return "fa" if len(_FARSI.findall(folded)) > 0.01 * count else "ar"
    return code
