"""Rewordings of a request that ask for the same: typos, politeness, another order, templates and the like.

Pure and deterministic: the same text, kind and seed give the same variant. What carries the meaning stays as
it is: code, quoted text, numbers, formulas, addresses, names and acronyms. Nothing here knows of routing.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from random import Random

Make = Callable[[str, Random], str]


def _words(listed: str) -> list[str]:
    return listed.split()


LEAST_LETTERS = 4
"""Shorter words get no typos, which would make other words of them."""
TYPOS = (0.02, 0.05)
"""The share of letters with a typo is drawn from this range."""
LONG_PART = 200
"""Characters from which the text beside an instruction is a document."""
SHORT_PART = 300
"""Characters up to which a paragraph is an instruction."""

_PROTECTED = re.compile(
    r"""
    (?:```|~~~).*?(?:```|~~~|\Z)            # fenced code
    | `[^`\n]+`
    | \$\$.+?\$\$ | \$[^$\n]+\$ | \\\(.+?\\\) | \\\[.+?\\\]
    | "[^"]+" | “[^”]+” | «[^»]+» | „[^“”]+[“”]
    | (?<![\w'])'[^'\n]+'(?!\w)             # single quotes, not an apostrophe
    | https?://\S+ | \S+@\S+\.\w+
    | </?[A-Za-z][^<>\n]*>                  # a tag
    | ^[^\n]*(?:[{}=;]|\w\(|\)\s*->|=>|\|)[^\n]*$   # a line of code or of a table
    | ^(?:[ ]{2,}|\t)[^\n]*$                # an indented line
    | ^\s*\(?[A-Za-z0-9][.):](?=\s)         # the letter of an option
    | \S*[\d_\\/@\#^*<>]\S*                 # numbers, identifiers, paths, formulas
    | \b\w*[a-z][A-Z]\w*\b | \b[A-Z]{2,}\w*\b   # camelCase, acronyms
    | (?<=[a-z,;]\ )[A-Z]\w+                # names within a sentence
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(rf"[A-Za-z]{{{LEAST_LETTERS},}}")
_SENTENCE_END = re.compile(r"(?<=[a-z)\"”][.!?])[ \t]+(?=[A-Z\"“])")
_OPTIONS = re.compile(r"^([ \t]*\(?[A-Z][.):][ \t]+)(\S[^\n]*)$", re.MULTILINE)
_OF_OTHER_OPTIONS = re.compile(r"\b(?:above|below|all of|none of|neither|both|either)\b|\b[A-J]\b", re.I)
_NEAR = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        _words(
            "sqzw vnhg xvdf serfcx wrsd drtgvc ftyhbv gyujnb uojk huikmn jiolm kop njk bhjm ipkl ol wa etdf "
            "wedxz ryfg yihj cfgb qeas zsdc tugh asx"
        ),
        strict=True,
    )
)
"""The neighbours of each letter on an English keyboard."""


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Beginnings and ends of what carries the meaning, in order: kinds that change letters leave it alone."""
    return [found.span() for found in _PROTECTED.finditer(text)]


def variant_of(text: str, kind: str, seed: int = 0) -> str | None:
    """`text` reworded by `kind`, a key of `KINDS`; None where the kind has nothing to change in it."""
    changed = KINDS[kind](text, Random(f"{seed} {kind} {text.encode('utf-8', 'replace')!r}"))
    return changed if changed.strip() and changed != text else None


def variants_of(text: str, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Every kind that changes `text`, with the variant."""
    for kind in KINDS:
        if (changed := variant_of(text, kind, seed)) is not None:
            yield kind, changed


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """`text` in pieces, and whether each may be changed."""
    at = 0
    for start, end in protected_spans(text):
        yield text[at:start], True
        yield text[start:end], False
        at = end
    yield text[at:], True


def _free(text: str) -> list[bool]:
    """Whether each character may be changed."""
    free = [True] * len(text)
    for start, end in protected_spans(text):
        free[start:end] = [False] * (end - start)
    return free


def _outside(text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` done to all that is not protected."""
    return "".join(change(piece) if free else piece for piece, free in _pieces(text))


def _typos(text: str, random: Random) -> str:
    free = _free(text)
    words = [found for found in _WORD.finditer(text) if all(free[found.start() : found.end()])]
    letters = sum(len(found[0]) for found in words)
    number = min(len(words), max(1, round(random.uniform(*TYPOS) * letters)))
    for found in sorted(random.sample(words, number), key=lambda each: -each.start()):
        text = text[: found.start()] + _mistyped(found[0], random) + text[found.end() :]
    return text


def _mistyped(word: str, random: Random) -> str:
    """One letter after the first is hit beside its key, left out, doubled, or swapped with the next."""
    at = random.randrange(1, len(word))
    how = random.choice(("near", "dropped", "doubled", "swapped"))
    if how == "near":
        return word[:at] + random.choice(_NEAR[word[at].lower()]) + word[at + 1 :]
    if how == "dropped":
        return word[:at] + word[at + 1 :]
    if how == "swapped" and at + 1 < len(word) and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def _lower_case(text: str, random: Random) -> str:
    return _outside(text, lambda piece: re.sub(r"[.,;:!?](?=\s|$)", "", piece).lower())


_BEFORE = (
    "Hi! Could you please help me with this?", "Hello, I hope you are doing well.", "Hey there,",
    "Good morning! I would really appreciate your help with the following.", "Please help me with this:",
    "Excuse me, may I ask you something?",
)  # fmt: skip
_AFTER = (
    "Thank you very much in advance!", "Thanks a lot!", "Many thanks for your help.", "Thank you so much!",
    "Any help would be appreciated.", "Thanks in advance, and have a nice day!",
)  # fmt: skip


def _polite_before(text: str, random: Random) -> str:
    return f"{random.choice(_BEFORE)} {text}"


def _polite_after(text: str, random: Random) -> str:
    return f"{text.rstrip()}{random.choice((' ', chr(10) * 2))}{random.choice(_AFTER)}"


def _polite(text: str, random: Random) -> str:
    return _polite_after(_polite_before(text, random), random)


def _sentences_moved(text: str, random: Random) -> str:
    """The question at the end comes first, or the sentence that begins comes last."""
    if "\n" in text.strip() or len(_SENTENCE_END.split(text)) < 2:
        return text
    sentences = _SENTENCE_END.split(text.strip())
    if sentences[-1].endswith("?") and not sentences[0].endswith("?"):
        return " ".join([sentences[-1], *sentences[:-1]])
    if sentences[0].endswith("?") and sentences[-1][-1] in ".!?":
        return " ".join([*sentences[1:], sentences[0]])
    return text


def _options_moved(text: str, random: Random) -> str:
    """The options of a multiple-choice question change places; the letters stay in order."""
    found = list(_OPTIONS.finditer(text))
    if len(found) < 3 or any(_OF_OTHER_OPTIONS.search(each[2]) for each in found):
        return text
    texts = [each[2] for each in found]
    random.shuffle(texts)
    replaced = iter(texts)
    return _OPTIONS.sub(lambda each: each[1] + next(replaced), text)


def _instruction_moved(text: str, random: Random) -> str:
    """The instruction before a long text comes after it, or the other way round."""
    first, gap, rest = text.strip().partition("\n\n")
    if gap and len(first) <= SHORT_PART and len(rest) >= LONG_PART:
        return f"{rest.strip()}\n\n{first.strip()}"
    rest, gap, last = text.strip().rpartition("\n\n")
    if gap and len(last) <= SHORT_PART and len(rest) >= LONG_PART:
        return f"{last.strip()}\n\n{rest.strip()}"
    return text


def _framed(*frames: str) -> Make:
    """Into one of `frames`, at its %s."""
    return lambda text, random: random.choice(frames).replace("%s", text, 1)


def _json(text: str, random: Random) -> str:
    key = random.choice(("prompt", "question", "query", "instruction"))
    return json.dumps({key: text}, ensure_ascii=False, indent=random.choice((None, 2)))


_BRITISH_AMERICAN = _words(
    "colour color colours colors favourite favorite behaviour behavior neighbour neighbor flavour flavor "
    "honour honor labour labor humour humor rumour rumor organise organize organised organized realise "
    "realize recognise recognize apologise apologize summarise summarize categorise categorize optimise "
    "optimize analyse analyze minimise minimize prioritise prioritize memorise memorize vectorise "
    "vectorize criticise criticize emphasise emphasize standardise standardize centre center metre meter "
    "theatre theater litre liter fibre fiber defence defense offence offense licence license catalogue "
    "catalog dialogue dialog travelling traveling travelled traveled cancelled canceled modelling "
    "modeling labelled labeled programme program cheque check grey gray tyre tire aeroplane airplane "
    "jewellery jewelry maths math enrol enroll fulfil fulfill skilful skillful ageing aging mould mold "
    "plough plow storey story pyjamas pajamas sceptical skeptical anaemia anemia paediatric pediatric "
    "oestrogen estrogen diarrhoea diarrhea organisation organization organisations organizations practise "
    "practice judgement judgment lorry truck autumn fall"
)
_ONE_WAY = frozenset(_words("check story practice program truck fall"))
"""American words that mean something else as well: they are not turned into British ones."""
_SPELLINGS = {
    **dict(zip(_BRITISH_AMERICAN[::2], _BRITISH_AMERICAN[1::2], strict=True)),
    **{
        american: british
        for british, american in zip(_BRITISH_AMERICAN[::2], _BRITISH_AMERICAN[1::2], strict=True)
        if american not in _ONE_WAY
    },
}
_CONTRACTED = {
    "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't", "are not": "aren't",
    "was not": "wasn't", "were not": "weren't", "have not": "haven't", "has not": "hasn't",
    "cannot": "can't", "could not": "couldn't", "should not": "shouldn't", "would not": "wouldn't",
    "will not": "won't", "i am": "I'm", "i have": "I've", "i will": "I'll", "i would": "I'd",
    "you are": "you're", "we are": "we're", "they are": "they're", "it is": "it's", "that is": "that's",
    "what is": "what's", "who is": "who's", "how is": "how's", "where is": "where's", "let us": "let's",
}  # fmt: skip
_WHOLE = {short.lower(): long.replace("i ", "I ") for long, short in _CONTRACTED.items()}
_VERBS = (
    ("write", "compose", "draft"), ("explain", "describe", "clarify"), ("list", "enumerate", "name"),
    ("summarize", "sum up", "condense"), ("summarise", "sum up", "condense"),
    ("calculate", "compute", "work out"), ("give", "provide"),
    ("create", "make", "produce"), ("fix", "correct", "repair"), ("help", "assist"), ("show", "demonstrate"),
    ("rewrite", "reword", "rephrase"), ("solve", "work out"), ("suggest", "propose", "recommend"),
    ("discuss", "talk about"), ("outline", "sketch"), ("extract", "pull out"), ("convert", "turn"),
    ("tell me", "let me know"), ("check", "verify"), ("prove", "show"), ("implement", "code up"),
    ("pretend", "imagine"),
)  # fmt: skip
_SYNONYMS = {words[0]: words[1:] for words in _VERBS}


def _phrases(listed: Mapping[str, object], before: str = r"\b", after: str = r"\b") -> re.Pattern[str]:
    words = "|".join(sorted(listed, key=len, reverse=True))
    return re.compile(f"{before}(?:{words}){after}", re.IGNORECASE)


_SPELLED = _phrases(_SPELLINGS)
_SHORT, _LONG = _phrases(_WHOLE), _phrases(_CONTRACTED)
_VERB = _phrases(
    _SYNONYMS, r"(?:\A|(?<=[.!?:] )|(?<=\n)|(?<=please )|(?<=can you )|(?<=could you ))", r"(?= (?!\d))"
)
"""Verbs where an instruction begins; no "write 214 in base 6"."""
_CAPITAL_START = re.compile(r"[A-Z]")


def _like(original: str, replacement: str) -> str:
    """`replacement` begins with a capital where `original` does."""
    if _CAPITAL_START.match(original):
        return replacement[0].upper() + replacement[1:]
    return replacement


def _replaced(text: str, pattern: re.Pattern[str], replacement: Callable[[str], str]) -> str:
    """`text` with what `pattern` finds replaced, where nothing of it is protected."""
    free = _free(text)

    def change(found: re.Match[str]) -> str:
        if not all(free[found.start() : found.end()]):
            return found[0]
        return _like(found[0], replacement(found[0].lower()))

    return pattern.sub(change, text)


def _spelling(text: str, random: Random) -> str:
    return _replaced(text, _SPELLED, _SPELLINGS.__getitem__)


def _contractions(text: str, random: Random) -> str:
    """Contractions written out; made, where there are none."""
    written_out = _replaced(text, _SHORT, _WHOLE.__getitem__)
    return written_out if written_out != text else _replaced(text, _LONG, _CONTRACTED.__getitem__)


def _synonyms(text: str, random: Random) -> str:
    return _replaced(text, _VERB, lambda verb: random.choice(_SYNONYMS[verb]))


def _whitespace(text: str, random: Random) -> str:
    def change(piece: str) -> str:
        piece = re.sub(r"(?<=[.!?,]) (?=\S)", "  ", piece)
        return re.sub(r"(?<=[^\n])\n(?=[^\n])", random.choice(("\n", " \n")), piece)

    before, after = random.choice((("", "\n"), ("\n\n", ""), (" ", "  \n\n")))
    return f"{before}{_outside(text, change)}{after}"


_UNICODE = str.maketrans({"'": "\u2019", "-": "\u2010"})


def _unicode_punctuation(text: str, random: Random) -> str:
    """Typographic quotes, apostrophes, dashes and spaces in the place of a keyboard's."""
    changed = []
    for piece, free in _pieces(text):
        if free:
            piece = piece.replace("...", "\u2026").replace(" - ", " \u2013 ").translate(_UNICODE)
            piece = re.sub(r"(?<=\b[Ii]n|\b[Oo]f) ", "\u00a0", piece)
        elif piece[0] == piece[-1] == '"':
            piece = f"\u201c{piece[1:-1]}\u201d"
        changed.append(piece)
    return "".join(changed)


KINDS: Mapping[str, Make] = {
    "typos": _typos,
    "lower case, no punctuation": _lower_case,
    "polite before": _polite_before,
    "polite after": _polite_after,
    "polite before and after": _polite,
    "sentences moved": _sentences_moved,
    "options moved": _options_moved,
    "instruction moved": _instruction_moved,
    "preamble": _framed(
        "You are a helpful, honest assistant. Answer the user's request as well as you can.\n\n%s",
        "You are an AI assistant. Think carefully and respond to the following request.\n\n%s",
        "A chat between a curious user and an assistant. The assistant gives helpful answers.\n\nUSER: %s",
    ),
    "question and answer": _framed(
        "Question: %s\nAnswer:", "Q: %s\n\nA:", "### Question\n%s\n\n### Answer\n"
    ),
    "chat template": _framed(
        "### Instruction:\n%s\n\n### Response:\n",
        "[INST] %s [/INST]",
        "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n",
        "User: %s\nAssistant:",
        "Human: %s\n\nAssistant:",
    ),
    "Markdown fence": _framed("```\n%s\n```", "```text\n%s\n```"),
    "XML tags": _framed(
        "<question>\n%s\n</question>", "<task>%s</task>", "<input>\n%s\n</input>", "<prompt>\n%s\n</prompt>"
    ),
    "JSON": _json,
    "British or American": _spelling,
    "white space": _whitespace,
    "Unicode punctuation": _unicode_punctuation,
    "contractions": _contractions,
    "synonyms": _synonyms,
}
"""What each kind does to a text; it returns the text itself where there is nothing to change."""
