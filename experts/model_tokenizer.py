"""A model's own tokenizer, read from its files: what counting a prompt exactly takes.

A prompt is the chat template's text. Special tokens end its pieces, which the tokenizer reads one by one, so
that a conversation that grows counts only what is new; the counts of the others come from a cache.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.token_count import TokenCount
from experts.chat_template import ChatTemplate, TemplateRefusal
from experts.count_cache import CountCache
from experts.tokens import TEMPLATE, TokenBounds, has_media, prompt_pieces, utf8

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
LOADED = 32
"""Tokenizers that stay loaded."""
MIN_CACHED_CHARACTERS = 64
"""Characters of a piece that is worth remembering."""


class TokenizerError(Exception):
    """A tokenizer's files cannot be read; the message says which and why."""


class ModelTokenizer:
    """Counts texts and prompts. Blocks for about 0.3 µs a character that it has not counted before, most of
    it without holding other threads up."""

    def __init__(
        self, tokenizer: "Tokenizer", template: ChatTemplate | None, cache: CountCache, salt: bytes
    ) -> None:
        """`salt`, of at most 64 bytes, tells its counts in `cache` from those of others."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = template
        self._cache = cache
        self._salt = salt
        self._special = _pattern(tokenizer)

    @classmethod
    def read(cls, path: Path, cache: CountCache) -> "ModelTokenizer":
        """The tokenizer of a `tokenizer.json` or a folder with one, and the chat template beside it. Blocks
        for up to a second, the first time in this process or in the one that it was forked from. Raises
        TokenizerError."""
        file = path / TOKENIZER_FILE if path.is_dir() else path
        try:
            tokenizer, digest = _loaded(file, file.stat().st_mtime_ns)
            template = ChatTemplate.of_folder(file.parent)
        except OSError as error:
            raise TokenizerError(f"{error.filename or file}: {error.strerror or error}") from error
        except ValueError as error:
            raise TokenizerError(f"{file}: {error}") from error
        return cls(tokenizer, template, cache, digest)

    def text(self, text: str) -> int:
        """The tokens of a text, special ones that it spells included."""
        known, new = self._looked_up(text)
        return known + self._encoded(new)

    def prompt(self, body: Mapping[str, Any]) -> TokenCount:
        """The tokens of a chat completion request as it is sent to the server. Counted when the template
        takes it and it is text alone; else its texts are counted, and the rest is an allowance."""
        if (text := self._rendered(body)) is not None:
            return TokenCount.counted(self.text(text))
        found = TEMPLATE
        for piece in prompt_pieces(body):
            if isinstance(piece, str):
                tokens = self.text(piece)
                # Where texts are joined, a token may be saved.
                found += TokenBounds(max(0, tokens - 1), tokens, tokens + 1)
            else:
                found += piece
        return found.count

    def quick_prompt(self, body: Mapping[str, Any], characters: int) -> TokenCount | None:
        """`prompt` where it takes no time: when no more than `characters` were not counted before."""
        if (text := self._rendered(body)) is None:
            return None
        known, new = self._looked_up(text)
        if sum(map(len, new)) > characters:
            return None
        return TokenCount.counted(known + self._encoded(new))

    def _rendered(self, body: Mapping[str, Any]) -> str | None:
        """The prompt as the template has it; None without one, when it refuses, and for more than text."""
        if self._template is None or has_media(body):
            return None
        try:
            return self._template.render(body)
        except TemplateRefusal:
            return None

    def _pieces(self, text: str) -> Iterator[str]:
        """`text`, cut in front of its special tokens."""
        if self._special is None:
            yield text
            return
        start = 0
        for found in self._special.finditer(text):
            if found.start() > start:
                yield text[start : found.start()]
                start = found.start()
        yield text[start:]

    def _looked_up(self, text: str) -> tuple[int, list[str]]:
        """The tokens of the pieces that are known, and the pieces that are not."""
        known, new = 0, []
        for piece in self._pieces(text):
            count = self._cache.get(self._key(piece)) if len(piece) >= MIN_CACHED_CHARACTERS else None
            if count is None:
                new.append(piece)
            else:
                known += count
        return known, new

    def _key(self, piece: str) -> bytes:
        return hashlib.blake2b(utf8(piece), digest_size=16, key=self._salt).digest()

    def _encoded(self, pieces: list[str]) -> int:
        """The tokens of `pieces`, which are remembered."""
        if not pieces:
            return 0
        # Of the library's ways the one that lets other threads run, and makes no offsets.
        found = self._tokenizer.encode_batch_fast([_whole(each) for each in pieces], add_special_tokens=False)
        counts = [len(each) for each in found]
        for piece, count in zip(pieces, counts, strict=True):
            if len(piece) >= MIN_CACHED_CHARACTERS:
                self._cache.put(self._key(piece), count)
        return sum(counts)


@lru_cache(maxsize=LOADED)
def _loaded(file: Path, _changed_ns: int) -> "tuple[Tokenizer, bytes]":
    """A tokenizer and the digest of its file; some 50 MB, and not changed by use."""
    from tokenizers import Tokenizer

    # Read here: the library's own error for a missing file is a bare Exception.
    content = file.read_bytes()
    return Tokenizer.from_buffer(content), hashlib.sha256(content).digest()


def _whole(text: str) -> str:
    """`text` without halves of surrogate pairs, which JSON can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _pattern(tokenizer: "Tokenizer") -> re.Pattern[str] | None:
    """The special tokens that a text can be cut in front of: those that take no blanks from its left."""
    special = [
        token.content
        for token in tokenizer.get_added_tokens_decoder().values()
        if token.special and not token.lstrip and not token.single_word and token.content
    ]
    if not special:
        return None
    longest_first = sorted(special, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))
