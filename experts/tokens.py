"""Bounds and an estimate of a prompt's tokens without its tokenizer.

- `most` holds for every tokenizer that falls back to bytes (byte-level BPE, SentencePiece with bytes): none
  makes more tokens of a text than it has UTF-8 bytes, counted after the longest normalisation.
- `least` holds for every tokenizer that splits at white space: none makes fewer tokens than there are words.
- `likely` is an estimate for prose and code; budgets reserve `reserved_tokens`, which is above it.

What a chat template adds is an allowance in each. Pictures and other media count by a fixed allowance.
"""

import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from base.token_count import TokenCount

Body = Mapping[str, Any]

CHUNK = 65_536
"""Characters looked at without letting other threads run: at most a few milliseconds."""
PIECE_COST = 32
"""Characters that are as much work as a message without any."""
LONG_WORD = 16
CHARACTERS_PER_TOKEN = 8
"""In words longer than LONG_WORD; text without blanks has 1 to 4 characters per token."""
FEW_CHARACTERS = 4
"""A word of no more distinct characters may be a rule or padding, which vocabularies have tokens for."""

LEAST_PER_MESSAGE, LIKELY_PER_MESSAGE, MOST_PER_MESSAGE = 1, 4, 16
"""Role and delimiters in the usual chat templates."""
MOST_TEMPLATE, MOST_TOOLS = 128, 512
"""What a template may put in front by itself: a default system message, how to call tools."""
MEDIA_LIKELY, MEDIA_MOST = 1_000, 4_096
"""A picture, recording or file: 85 to 1,600 tokens with most providers, up to 4,096 with Qwen's models."""

LETTERS_PER_TOKEN = 4.5
"""English prose and code, blanks included."""
PER_DIGIT, PER_SIGN, PER_BYTE = 0.8, 0.7, 0.4
"""Tokens of a digit, another ASCII sign, and a byte of any other script."""
RESERVE = 1.5
"""What budgets set aside for a token of the estimate."""

_LETTERS = bytes(byte for byte in range(128) if chr(byte).isalpha() or chr(byte).isspace())
_DIGITS = b"0123456789"
_OTHER = bytes(range(128, 256))
_MESSAGE_TEXTS = ("content", "name", "reasoning_content", "reasoning", "refusal")
_MESSAGE_JSON = ("tool_calls", "function_call")
_PROMPT_JSON = ("tools", "functions")


@dataclass(frozen=True, slots=True)
class TokenBounds:
    """Bounds and an estimate of a text's or a prompt's tokens. They add up."""

    least: int = 0
    likely: float = 0.0
    most: int = 0

    def __add__(self, other: "TokenBounds") -> "TokenBounds":
        if other is NOTHING:
            return self
        return TokenBounds(self.least + other.least, self.likely + other.likely, self.most + other.most)

    @property
    def count(self) -> TokenCount:
        return TokenCount(math.ceil(self.likely), self.least, self.most, "bounded")


NOTHING = TokenBounds()
MESSAGE = TokenBounds(LEAST_PER_MESSAGE, LIKELY_PER_MESSAGE, MOST_PER_MESSAGE)
TEMPLATE = TokenBounds(0, 0, MOST_TEMPLATE)
TOOLS = TokenBounds(0, MOST_TOOLS / 4, MOST_TOOLS)
MEDIUM = TokenBounds(0, MEDIA_LIKELY, MEDIA_MOST)


def text_bounds(text: str) -> TokenBounds:
    """The bounds of a text, in pieces, so that a long one does not keep other threads waiting."""
    if len(text) <= CHUNK:
        return _piece_bounds(text)
    found = NOTHING
    for start in range(0, len(text), CHUNK):
        piece = _piece_bounds(text[start : start + CHUNK])
        # A word that is cut in two counts twice.
        found += TokenBounds(max(0, piece.least - 1), piece.likely, piece.most)
    return found


def _piece_bounds(text: str) -> TokenBounds:
    if not text:
        return NOTHING
    data = utf8(text)
    most = len(data)
    if not text.isascii():
        # Some tokenizers normalise first, which makes some signs longer: a Hebrew or Hindi letter by twice,
        # a ligature by eleven times.
        most = max(most, len(utf8(unicodedata.normalize("NFKD", text))))
    words = text.split()
    least = len(words)
    for word in words:
        if len(word) > LONG_WORD and len(set(word[: 4 * LONG_WORD])) > FEW_CHARACTERS:
            least += len(word) // CHARACTERS_PER_TOKEN - 1
    letters, digits, other = (
        len(data) - len(data.translate(None, each)) for each in (_LETTERS, _DIGITS, _OTHER)
    )
    signs = len(data) - letters - digits - other
    likely = letters / LETTERS_PER_TOKEN + digits * PER_DIGIT + signs * PER_SIGN + other * PER_BYTE
    # One more for the blank that some tokenizers put in front.
    return TokenBounds(least, max(least, min(likely, most)), most + 1)


def utf8(text: str) -> bytes:
    """JSON can hold halves of surrogate pairs; they are counted as three bytes, as their replacement is."""
    return text.encode("utf-8", "surrogatepass")


def prompt_bounds(body: Body, *, system_prompt: str | None = None) -> TokenBounds:
    """The bounds of a chat completion request's prompt, with `system_prompt` in front."""
    return pieces_bounds(prompt_pieces(body)) + system_bounds(system_prompt)


def pieces_bounds(pieces: Iterable[str | TokenBounds]) -> TokenBounds:
    """The bounds of a prompt of these pieces."""
    least, likely, most = TEMPLATE.least, TEMPLATE.likely, TEMPLATE.most
    for piece in pieces:
        each = text_bounds(piece) if isinstance(piece, str) else piece
        least, likely, most = least + each.least, likely + each.likely, most + each.most
    return TokenBounds(least, likely, most)


@lru_cache(maxsize=256)
def system_bounds(system_prompt: str | None) -> TokenBounds:
    """What a system prompt in front of a prompt adds to its bounds."""
    return text_bounds(f"{system_prompt}\n\n") + MESSAGE if system_prompt else NOTHING


def prompt_pieces(body: Body) -> Iterator[str | TokenBounds]:
    """The texts of a prompt, and the allowances for all that is not text."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list | tuple) else ():
        yield MESSAGE
        if not isinstance(message, Mapping):
            continue
        for name in _MESSAGE_TEXTS:
            if (content := message.get(name)) is None:
                continue
            if isinstance(content, str):
                yield content
            else:
                yield from _part_pieces(content)
        for name in _MESSAGE_JSON:
            if message.get(name):
                yield as_json(message[name])
    for name in _PROMPT_JSON:
        if body.get(name):
            yield TOOLS
            yield as_json(body[name])


def _part_pieces(content: Any) -> Iterator[str | TokenBounds]:
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping):
                texts = [part[name] for name in ("text", "refusal") if isinstance(part.get(name), str)]
                yield from texts or (MEDIUM,)


def as_json(value: Any) -> str:
    """Tools as templates write them; escapes count as what they stand for."""
    return json.dumps(value, ensure_ascii=False, default=str)


def prompt_length(body: Body) -> int:
    """Characters of a prompt, without looking at them, with some for each message: what counting it costs."""
    return pieces_length(prompt_pieces(body))


def pieces_length(pieces: Iterable[str | TokenBounds]) -> int:
    """`prompt_length` of a prompt of these pieces."""
    return sum([len(piece) if isinstance(piece, str) else PIECE_COST for piece in pieces])


def has_media(body: Body) -> bool:
    """Whether a prompt has parts that are not text."""
    return any(piece is MEDIUM for piece in prompt_pieces(body))


def reserved_tokens(body: Body, *, system_prompt: str | None = None) -> int:
    """What budgets set aside for a prompt that nobody counted: above most prose and code, in any script."""
    return math.ceil(RESERVE * prompt_bounds(body, system_prompt=system_prompt).count.tokens)
