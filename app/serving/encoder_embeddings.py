"""Embeddings by the router's own encoder, beside its routing.

Texts are encoded in small pieces, one piece at a time in the whole service, so that a request for many of
them does not keep the routing threads from requests that wait to be routed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.errors import ServiceError
from app.serving.routing import RoutingService
from routers.request import Matrix

if TYPE_CHECKING:
    from routers.encoder import Encoder

TEXT_TOKENS = 8192
"""Tokens of one text; all of them are read."""
TEXT_CHARACTERS = TEXT_TOKENS * 8
"""Characters of one text, before its tokens are counted."""
PIECE_TEXTS, PIECE_CHARACTERS = 16, 1_000
"""Of one piece, some 20 ms of work: it ends with the text that reaches the characters."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts, rows of unit length, and the tokens of all texts."""

    vectors: Matrix
    tokens: int


class EncoderEmbeddings:
    """The router's encoder as an embedding model."""

    def __init__(self, routing: RoutingService, *, seconds: float) -> None:
        """`seconds`: for all texts of one request."""
        self._routing = routing
        self._seconds = seconds
        self._turn = asyncio.Lock()

    @property
    def encoder(self) -> "Encoder":
        return self._routing.router.encoder

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embeddings of `texts`. Raises ServiceError: 400 for a text that is empty or too long, 503 when too
        many requests wait, 504 when time is up."""
        for index, text in enumerate(texts):
            if not text:
                raise ServiceError(400, "invalid_value", "A text must not be empty.", param=_place(index))
            if len(text) > TEXT_CHARACTERS:
                raise _too_long(index)
        encoder, found, tokens, done = self.encoder, [], 0, 0
        try:
            async with asyncio.timeout(self._seconds):
                for piece in _pieces(texts):
                    async with self._turn:
                        counts, vectors = await self._routing.in_thread(_encode, (encoder, piece))
                    for index, count in enumerate(counts, start=done):
                        if count > TEXT_TOKENS:
                            raise _too_long(index)
                    found.append(vectors)
                    tokens += sum(counts)
                    done += len(piece)
        except TimeoutError:
            raise ServiceError(
                504,
                "embedding_timeout",
                f"{done} of {len(texts)} texts were embedded in {self._seconds:g} s: send fewer at once.",
            ) from None
        return Embedded(np.concatenate(found), tokens)


def _encode(given: tuple["Encoder", list[str]]) -> tuple[list[int], Matrix]:
    """The tokens of each text of a piece, and the vectors; none when a text is too long."""
    encoder, texts = given
    counts = encoder.count_tokens(texts)
    return counts, encoder.encode(texts if max(counts) <= TEXT_TOKENS else ())


def _pieces(texts: Sequence[str]) -> Iterable[list[str]]:
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if len(piece) == PIECE_TEXTS or size >= PIECE_CHARACTERS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _place(index: int) -> str:
    return f"input[{index}]"


def _too_long(index: int) -> ServiceError:
    message = f"A text may have {TEXT_TOKENS} tokens: cut it into passages."
    return ServiceError(400, "context_length_exceeded", message, param=_place(index))
