"""Counts prompts as the experts that would read them count them.

With the tokenizer's file where it is at hand, else by asking the expert's server (vLLM's `/tokenize`); where
neither is there, the bounds of `experts.tokens` hold. Nobody counts what the bounds settle. Knows nothing of
decisions.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from base.token_count import TokenCount
from experts.count_cache import CountCache
from experts.errors import ExpertError, ExpertRejected
from experts.expert import Expert
from experts.model_tokenizer import ModelTokenizer
from experts.outgoing import outgoing_body
from experts.tokenizer_files import read_tokenizers
from experts.tokens import (
    MOST_TEMPLATE,
    RESERVE,
    TokenBounds,
    as_json,
    has_media,
    pieces_bounds,
    pieces_length,
    prompt_bounds,
    prompt_length,
    prompt_pieces,
    system_bounds,
    utf8,
)

Body = Mapping[str, Any]
Made = TypeVar("Made")

MIN_ANSWER_TOKENS = 16
"""Tokens that a prompt has to leave for an answer, or as many as the client wants."""
INLINE_CHARACTERS, INLINE_COUNTED_CHARACTERS = 32_000, 2_000
"""Characters that are read, and counted, on the event loop itself: in less than a millisecond."""
HUGE_CHARACTERS = 256_000
"""Characters that take a tenth of a second to count."""
MAX_BYTES_PER_CHARACTER = 40
"""Upper bound, after any Unicode normalisation."""
MIN_LEARNED_TOKENS = 256
"""Tokens of a prompt that is worth remembering when its server reports them."""

log = structlog.get_logger(__name__)


class ServerTokenizer(Protocol):
    """Asks an expert's server; `experts.client.ExpertClient` is one."""

    async def tokenize(self, expert: Expert, body: Body) -> int | None:
        """The tokens of a body as it would be sent; None when the server cannot say. Raises ExpertError."""
        ...


@dataclass(frozen=True, slots=True)
class CounterLimits:
    """Bounds of one counter."""

    cache: int = 20_000
    """Counts that are remembered."""
    queue: int = 64
    """Long prompts that may wait for a thread; beyond it the bounds stand."""
    ask_s: float = 1.0
    """How long a server's `/tokenize` may take."""
    asks: int = 16
    """Servers asked at once; beyond it the bounds stand."""
    cooldown_s: float = 60.0
    """How long a server that could not say is not asked again."""


@dataclass(slots=True)
class _Server:
    """What is known of one server's `/tokenize`."""

    answers: bool = False
    cooldown_until: float = 0.0


@dataclass(slots=True)
class TokenCounter:
    """Belongs to one event loop; `close` it."""

    tokenizers: Mapping[str, ModelTokenizer]
    """By expert."""
    server: ServerTokenizer | None
    counts: CountCache
    limits: CounterLimits = CounterLimits()
    _servers: dict[tuple[str, str], _Server] = field(default_factory=dict)
    _asking: int = 0
    _waiting: int = 0
    _pools: dict[bool, ThreadPoolExecutor] = field(default_factory=dict)
    """By whether a text is huge: one of them does not keep the others waiting."""

    @classmethod
    def of(
        cls,
        experts: Collection[Expert],
        server: ServerTokenizer | None = None,
        limits: CounterLimits | None = None,
    ) -> "TokenCounter":
        """A counter for `experts`, their tokenizers read. Blocks for up to a second for each of them. Raises
        TokenizerError."""
        limits = limits or CounterLimits()
        counts = CountCache(limits.cache)
        return cls(read_tokenizers(experts, counts), server, counts, limits)

    def close(self) -> None:
        """Ends the threads."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    async def count(self, expert: Expert, document: Body) -> TokenCount:
        """The tokens of a chat completion request for `expert`, its system prompt included, as exactly as can
        be had."""
        if expert.name in self.tokenizers and (found := await self._tokenized(expert, document)):
            return found
        bounds = (await self._bounds(document)) + system_bounds(expert.system_prompt)
        return await self._counted(expert, document, bounds, None)

    async def fit(self, expert: Expert, document: Body, answer: int) -> TokenCount:
        """The tokens of a request for `expert`, counted unless bounds tell whether it fits with an
        answer of `answer` tokens."""
        return (await self.fits([expert], document, answer))[expert.name]

    async def fits(self, experts: Collection[Expert], document: Body, answer: int) -> dict[str, TokenCount]:
        """`fit` for each of `experts`, by name."""
        bounds = await self._bounds(document)
        found: dict[str, TokenCount] = {}
        undecided = []
        for expert in experts:
            own = bounds + system_bounds(expert.system_prompt)
            found[expert.name] = own.count
            if own.least <= expert.context_length < own.most + answer:
                undecided.append((expert, own))
        if not undecided:
            return found
        counts = await asyncio.gather(
            *(self._counted(each, document, own, each.context_length - answer) for each, own in undecided)
        )
        return found | {expert.name: count for (expert, _), count in zip(undecided, counts, strict=True)}

    async def estimate(self, expert: Expert, document: Body) -> int:
        """The tokens of a request: counted where the tokenizer is at hand or the server has reported them,
        else estimated."""
        return (await self._known(expert, document)).tokens

    async def reserve(self, expert: Expert, document: Body) -> int:
        """Tokens that a budget sets aside for a request: counted where the tokenizer is at hand or the server
        has reported them, else estimated on the high side."""
        known = await self._known(expert, document)
        return known.tokens if known.method == "counted" else math.ceil(RESERVE * known.tokens)

    async def _known(self, expert: Expert, document: Body) -> TokenCount:
        """What is known of a request without asking a server."""
        if expert.name in self.tokenizers and (found := await self._tokenized(expert, document)):
            return found
        bounds = (await self._bounds(document)) + system_bounds(expert.system_prompt)
        return await self._learned(expert, document, bounds)

    async def learn(self, expert: Expert, document: Body, tokens: int | None) -> None:
        """Remember the prompt tokens that `expert`'s server reported for a request: the conversation's next
        request is longer by what is new."""
        if tokens is not None and tokens >= MIN_LEARNED_TOKENS and expert.name not in self.tokenizers:
            await self._remember(expert, document, tokens)

    async def _remember(self, expert: Expert, document: Body, tokens: int) -> None:
        chain = await self._in_thread(_chain_length(document), lambda: _chain(expert, document))
        if chain is not None:
            self.counts.put(chain[-1], tokens)

    async def _bounds(self, document: Body) -> TokenBounds:
        pieces = list(prompt_pieces(document))
        length = pieces_length(pieces)
        found = await self._in_thread(length, lambda: pieces_bounds(pieces))
        if found is None:
            return TokenBounds(0, length, MAX_BYTES_PER_CHARACTER * length + MOST_TEMPLATE)
        return found

    async def _counted(
        self, expert: Expert, document: Body, bounds: TokenBounds, room: int | None
    ) -> TokenCount:
        """The count, as exactly as can be had; `room`: tokens below which nothing more need be known."""
        if expert.name in self.tokenizers:
            known = await self._tokenized(expert, document) or bounds.count
        else:
            known = await self._learned(expert, document, bounds)
        if known.method == "counted" or (room is not None and known.most <= room):
            return known
        told = await self._ask(expert, document)
        return known if told is None else TokenCount.counted(told)

    async def _tokenized(self, expert: Expert, document: Body) -> TokenCount | None:
        """By the tokenizer of `expert`; None when too many wait already."""
        tokenizer, body = self.tokenizers[expert.name], outgoing_body(expert, document, stream=False)
        length = prompt_length(body)
        if (
            length <= INLINE_CHARACTERS
            and (quick := tokenizer.quick_prompt(body, INLINE_COUNTED_CHARACTERS)) is not None
        ):
            return quick
        return await self._in_thread(max(length, INLINE_CHARACTERS + 1), lambda: tokenizer.prompt(body))

    async def _learned(self, expert: Expert, document: Body, bounds: TokenBounds) -> TokenCount:
        """`bounds`, narrowed by what is known of the longest beginning of the conversation."""
        if not len(self.counts):
            return bounds.count
        length = _chain_length(document)
        chain = await self._in_thread(length, lambda: _chain(expert, document))
        for read in range(len(chain or ()) - 1, -1, -1):
            if chain is None or (known := self.counts.get(chain[read])) is None:
                continue
            rest = document["messages"][read:]
            if not rest:
                return TokenCount.counted(known)
            new = await self._in_thread(length, partial(prompt_bounds, {"messages": rest}))
            if new is None:
                break
            # A template may leave out what it had in the beginning, so that the lower bound stays.
            most = min(bounds.most, known + new.most)
            likely = math.ceil(known + new.likely)
            return TokenCount(min(most, max(bounds.least, likely)), min(most, bounds.least), most, "bounded")
        return bounds.count

    async def _ask(self, expert: Expert, document: Body) -> int | None:
        """By the server of `expert`; None when it cannot say, or not now."""
        if self.server is None or not expert.tokenize or expert.provider != "openai" or has_media(document):
            return None
        state = self._servers.setdefault((expert.endpoint or "", expert.model), _Server())
        if self._asking >= self.limits.asks or time.monotonic() < state.cooldown_until:
            return None
        self._asking += 1
        told = None
        try:
            async with asyncio.timeout(self.limits.ask_s):
                told = await self.server.tokenize(expert, document)
        except ExpertRejected:
            # It may be the conversation's fault, where the server has answered others.
            if state.answers:
                return None
        except (ExpertError, TimeoutError) as error:
            log.info("tokenize_failed", expert=expert.name, error=type(error).__name__)
        finally:
            self._asking -= 1
        if told is None:
            state.cooldown_until = time.monotonic() + self.limits.cooldown_s
            return None
        state.answers = True
        await self._remember(expert, document, told)
        return told

    async def _in_thread(self, length: int, work: Callable[[], Made]) -> Made | None:
        """`work` on `length` characters, beside the event loop when it is long; None when too many wait."""
        if length <= INLINE_CHARACTERS:
            return work()
        if self._waiting >= self.limits.queue:
            return None
        huge = length > HUGE_CHARACTERS
        if huge not in self._pools:
            self._pools[huge] = ThreadPoolExecutor(1, thread_name_prefix="counting")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pools[huge], work)
        finally:
            self._waiting -= 1


def _chain_length(document: Body) -> int:
    """Characters that `_chain` reads: those of pictures too, which may be millions."""
    return prompt_length(document) + (INLINE_CHARACTERS if has_media(document) else 0)


def _chain(expert: Expert, document: Body) -> list[bytes]:
    """Digests of the beginnings of a conversation as `expert` reads it: of no message, of one, of two, …"""
    front = [expert.endpoint, expert.model, expert.system_prompt]
    front += [document.get(name) for name in ("tools", "functions", "chat_template_kwargs")]
    digest = hashlib.blake2b(utf8(as_json(front)), digest_size=16).digest()
    chain = [digest]
    for message in document["messages"]:
        digest = hashlib.blake2b(utf8(as_json(message)), digest_size=16, key=digest).digest()
        chain.append(digest)
    return chain
