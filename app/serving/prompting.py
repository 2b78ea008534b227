"""Puts prompts in front of requests, and asks experts with them.

Library prompts are part of an expert (`Expert.system_prompt`). A mixture's region and an identity depend on
the request, and are chosen here. All experts are asked through `Prompting`; the `RequestContext` records what
was put in front.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from app.serving.cap_clipping import CapClipping
from app.serving.expert_attempts import ExpertAttempts, PromptedBody
from app.serving.prompt_budget import TOKENS_PER_MESSAGE, answer_room, front_tokens
from app.serving.prompt_files import PromptFiles
from app.serving.provider_state import without_foreign_state
from app.serving.request_context import (
    NOTHING_USED,
    Dropped,
    IdentityUse,
    MixtureUse,
    PromptUse,
    RequestContext,
)
from base.system_prompt import with_system_prompt
from base.usage import TokenUsage
from experts.client import ExpertClient, ExpertReply, ReplyStream
from experts.errors import (
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import DialectName
from experts.native_outgoing import fits_dialect
from experts.registry import Expert
from experts.token_counter import TokenCounter
from prompts.identities import (
    MAX_TOKENS,
    Identities,
    IdentityError,
    Per,
    identity_messages,
    read_identity,
    text_hash,
)
from routers.conversation import latest_user_text
from routers.request import Turn, Vector

if TYPE_CHECKING:
    from prompts.mixture.layout import FewShotPrompt
    from prompts.mixture.mixture import Mixture, RegionChoice

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
Embed = Callable[[Sequence[Turn]], Awaitable[Vector]]


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """Upper estimates of prompt tokens: `asking` the expert with its prompt in front; `writing` an identity
    before, None where none is written."""

    asking: int
    writing: int | None = None


class Prompting:
    """Asks experts with their prompts in front."""

    def __init__(
        self,
        client: ExpertClient,
        embed: Embed,
        files: PromptFiles,
        experts: Iterable[Expert] = (),
        tokens: TokenCounter | None = None,
    ) -> None:
        """`embed` embeds requests that routing did not; `files` are those that `experts` name. Without
        `tokens` nothing is counted, and estimates stand."""
        self._client = client
        self._tokens = tokens or TokenCounter.of(())
        self._caps = CapClipping(self._tokens)
        self._embed = embed
        self._mixtures = files.mixtures
        self._identities = files.identities
        experts = tuple(experts)
        self._models = {expert.name: (expert.endpoint, expert.model) for expert in experts}
        self._kept = {
            expert.name: files.identities[expert.name].kept(expert.identity.per)
            for expert in experts
            if expert.identity is not None
        }
        self._mixture_tokens = {name: self._all_sizes(name, made) for name, made in files.mixtures.items()}
        self._identity_tokens = {
            (name, each.category): self._identity_size(name, each.text)
            for name, identities in files.identities.items()
            for each in identities.identities
        }

    def speaks(self, expert: Expert, dialect: DialectName) -> bool:
        """Whether `expert` can be asked in `dialect` itself: its server speaks it, and what the registry adds
        to requests can be said there, which a mixture or an identity cannot."""
        if expert.mixture is not None or expert.identity is not None:
            return False
        return expert.speaks(dialect) and fits_dialect(expert, dialect)

    async def prompt_tokens(
        self,
        expert: Expert,
        body: Body,
        context: RequestContext,
        *,
        room: int | None = None,
        plain: bool = False,
    ) -> PromptTokens:
        """The prompt tokens of asking `expert`, counted or estimated on the high side; `room` and `plain` as
        for `complete`. Makes no call and no embedding: without one, the longest of all regions counts."""
        said = await self._tokens.reserve(expert, body)
        if plain:
            return PromptTokens(said)
        fits = await self._front_room(expert, body, room)
        if (mixture := self._mixtures.get(expert.name)) is not None:
            if context.embedding is not None:
                choice = mixture.choose(context.embedding)
                sizes = self._sizes(expert.name, mixture, choice)
                possible = [size for size in sizes if size <= fits]
            else:
                known = self._mixture_tokens[expert.name]
                possible = [size for sizes in known.values() for size in sizes if size <= fits]
                # What is picked for the request may come to less than the longest, and then fit.
                picked = (each for each, region in enumerate(mixture.regions) if region.nearest)
                possible += [min(known[each][0], max(0, fits)) for each in picked]
            return PromptTokens(said + max(possible, default=0))
        category = context.category
        if expert.identity is None or category is None or category not in self._kept.get(expert.name, ()):
            return PromptTokens(said)
        if expert.identity.per == "category":
            size = self._identity_tokens.get((expert.name, category), 0)
            return PromptTokens(said + (size if size <= fits else 0))
        asked = identity_messages(latest_user_text(context.turns))
        written = min(MAX_TOKENS + TOKENS_PER_MESSAGE, max(0, fits))
        return PromptTokens(said + written, writing=await self._tokens.reserve(expert, {"messages": asked}))

    async def complete(
        self,
        expert: Expert,
        body: Body,
        context: RequestContext,
        *,
        room: int | None = None,
        plain: bool = False,
        dialect: DialectName = "chat",
    ) -> ExpertReply:
        """A whole answer of `expert` to `body`. `plain`: the messages are not the client's (a strategy's own
        question), and nothing is put in front. `room`: tokens to reserve for the answer, where that is not
        the body's own limit. `dialect`: that of the body and the answer, one that the expert `speaks`.
        Raises ExpertError."""
        attempts = ExpertAttempts(self._caps, expert, context, dialect)
        body = self._readable(expert, body, context)
        await attempts.begin(await self._bodies(expert, body, context, room, plain, dialect))
        while True:
            try:
                reply = await self._client.complete(
                    expert,
                    attempts.body,
                    dialect=dialect,
                    request_id=context.request_id,
                    client_headers=context.client_headers,
                    caller=context.caller,
                )
                break
            except ExpertRejected as error:
                if not await attempts.after_refusal(error):
                    raise
        context.note_answer(expert.name, reply)
        if reply.samples is None:
            await self._tokens.learn(expert, attempts.chat, TokenUsage.of(reply.usage).prompt)
        return reply

    @asynccontextmanager
    async def stream(
        self,
        expert: Expert,
        body: Body,
        context: RequestContext,
        *,
        room: int | None = None,
        plain: bool = False,
        dialect: DialectName = "chat",
    ) -> AsyncIterator[ReplyStream]:
        """A streamed answer whose first event has come; all as above. Raises ExpertError, also from the
        iterator."""
        attempts = ExpertAttempts(self._caps, expert, context, dialect)
        body = self._readable(expert, body, context)
        await attempts.begin(await self._bodies(expert, body, context, room, plain, dialect))
        async with AsyncExitStack() as stack:
            while True:
                asked = self._client.stream(
                    expert,
                    attempts.body,
                    dialect=dialect,
                    request_id=context.request_id,
                    client_headers=context.client_headers,
                    caller=context.caller,
                )
                try:
                    stream = await stack.enter_async_context(asked)
                    break
                except ExpertRejected as error:
                    if not await attempts.after_refusal(error):
                        raise
            context.note_answer(expert.name, stream)
            yield stream
            if stream.samples is None:
                await self._tokens.learn(expert, attempts.chat, TokenUsage.of(stream.usage).prompt)

    def _readable(self, expert: Expert, body: Body, context: RequestContext) -> Body:
        """`body` without provider state that another model made, or nobody we know."""

        def keeps(value: str) -> bool:
            maker = context.makers.get(value)
            return maker == expert.name or (
                maker in self._models and self._models[maker] == self._models.get(expert.name)
            )

        return without_foreign_state(body, keeps)

    async def preview(self, expert: Expert, context: RequestContext) -> None:
        """Record in `context` what would be put in front for `expert`, without any call."""
        mixture = self._mixtures.get(expert.name)
        use = PromptUse(prompt=expert.prompt)
        if mixture is not None:
            use = replace(use, mixture=_mixture_use(mixture, mixture.choose(await self._embedded(context))))
        context.used[expert.name] = use

    def facts(self, expert: Expert) -> dict[str, Any]:
        """Facts for /v1/experts about an expert's mixture and identities, without their text."""
        mixture = self._mixtures.get(expert.name)
        identities = self._identities.get(expert.name)
        per = expert.identity.per if expert.identity else "category"
        return {
            "mixture": None if mixture is None else {"name": mixture.name, "digest": mixture.digest},
            "identity": None
            if identities is None
            else {
                "per": per,
                "digest": identities.subject(per),
                "categories": sorted(self._kept[expert.name]),
            },
        }

    async def _bodies(
        self,
        expert: Expert,
        body: Body,
        context: RequestContext,
        room: int | None,
        plain: bool,
        dialect: DialectName,
    ) -> list[PromptedBody]:
        """The bodies to try, with the longest prompt first; the last one is no longer than the client's own.
        Those that would exceed the context by a high estimate are left out."""
        if plain:
            return [PromptedBody(body, None)]
        use = NOTHING_USED if expert.prompt is None else PromptUse(prompt=expert.prompt)
        if dialect != "chat":
            return [PromptedBody(body, use)]
        if (mixture := self._mixtures.get(expert.name)) is not None:
            bodies = await self._with_mixture(expert.name, mixture, body, context, use)
        elif (identities := self._identities.get(expert.name)) is not None and expert.identity is not None:
            bodies = await self._with_identity(expert, identities, body, context, use)
        else:
            return [PromptedBody(body, use)]
        fits = await self._front_room(expert, body, room)
        *richer, last = bodies
        return [*(each for each in richer if each.added <= fits), last]

    async def _front_room(self, expert: Expert, body: Body, answer: int | None) -> int:
        """Tokens left in front of `body` beside an answer of `answer` tokens (None: `answer_room`); negative
        when not even that fits."""
        answer = answer_room(expert, body) if answer is None else answer
        return expert.context_length - (await self._tokens.estimate(expert, body)) - answer

    async def _with_mixture(
        self, name: str, mixture: "Mixture", body: Body, context: RequestContext, plain: PromptUse
    ) -> list[PromptedBody]:
        from prompts.mixture.layout import lay_out

        choice = mixture.choose(await self._embedded(context))
        use = _mixture_use(mixture, choice)
        return [
            PromptedBody(
                {**body, "messages": lay_out(prompt, body["messages"], mixture.layout)},
                replace(plain, mixture=replace(use, dropped=dropped)),
                added,
            )
            for (prompt, dropped), added in zip(
                _shortened(mixture.prompt(choice)), self._sizes(name, mixture, choice), strict=True
            )
        ]

    def _sizes(self, name: str, mixture: "Mixture", choice: "RegionChoice") -> tuple[int, ...]:
        """Tokens of each form that the prompt of a choice may be shortened to."""
        if choice.nearest:
            return self._sizes_of(name, mixture, mixture.prompt(choice))
        return self._mixture_tokens[name][choice.region]

    def _all_sizes(self, name: str, mixture: "Mixture") -> dict[int | None, tuple[int, ...]]:
        """The tokens of each `_shortened` form, by region (None: the fallback)."""
        found: dict[int | None, tuple[int, ...]] = {None: self._sizes_of(name, mixture, mixture.fallback)}
        for number in range(len(mixture.regions)):
            longest = (self._sizes_of(name, mixture, prompt) for prompt in mixture.longest(number))
            found[number] = tuple(max(sizes) for sizes in zip(*longest, strict=True))
        return found

    def _sizes_of(self, name: str, mixture: "Mixture", prompt: "FewShotPrompt") -> tuple[int, ...]:
        from prompts.mixture.layout import lay_out

        tokenizer = self._tokens.tokenizers.get(name)
        forms = (lay_out(each, (), mixture.layout) for each, _ in _shortened(prompt))
        return tuple(front_tokens(form, tokenizer) for form in forms)

    def _identity_size(self, name: str, text: str) -> int:
        return front_tokens([{"role": "system", "content": text}], self._tokens.tokenizers.get(name))

    async def _with_identity(
        self,
        expert: Expert,
        identities: "Identities",
        body: Body,
        context: RequestContext,
        plain: PromptUse,
    ) -> list[PromptedBody]:
        per: Per = expert.identity.per if expert.identity else "category"
        use = IdentityUse(per, context.category)
        text = None
        if context.category is None:
            use = replace(use, skipped="no_category")
        elif context.category not in self._kept[expert.name]:
            use = replace(use, skipped="not_kept")
        elif per == "category":
            identity = identities.of(context.category)
            text = identity.text if identity else None
            use = use if identity else replace(use, skipped="not_written")
        else:
            use, text = await self._written(expert, context, use)
        if text is None:
            return [PromptedBody(body, replace(plain, identity=use))]
        used = replace(plain, identity=replace(use, hash=text_hash(text)))
        without = replace(plain, identity=replace(use, skipped="too_long"))
        messages = with_system_prompt(text, list(body["messages"]))
        put = PromptedBody({**body, "messages": messages}, used, self._identity_size(expert.name, text))
        return [put, PromptedBody(body, without)]

    async def _written(
        self, expert: Expert, context: RequestContext, use: IdentityUse
    ) -> tuple[IdentityUse, str | None]:
        """An identity written for this request by the expert itself. Raises the errors after which another
        expert may answer; any other failure leaves the request without an identity."""
        started = time.perf_counter()
        asked = {
            "messages": identity_messages(latest_user_text(context.turns)),
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
        }
        text, usage = None, None
        try:
            reply = await self._client.complete(
                expert, asked, request_id=context.request_id, caller=context.caller
            )
            usage = reply.body.get("usage")
            text = read_identity(str(reply.body["choices"][0]["message"].get("content") or ""))
        except (ExpertUnavailable, ExpertBusy, ExpertTimeout):
            raise
        except (ExpertError, IdentityError) as error:
            log.warning("no_identity_written", expert=expert.name, error=type(error).__name__)
            text, reply = None, None
        ms = round((time.perf_counter() - started) * 1000, 3)
        told = TokenUsage.of(usage)
        use = replace(
            use, calls=1, ms=ms, prompt_tokens=told.prompt or 0, completion_tokens=told.completion or 0
        )
        return (use if text else replace(use, skipped="not_written")), text

    async def _embedded(self, context: RequestContext) -> Vector:
        if context.embedding is None:
            context.embedding = await self._embed(context.turns)
        return context.embedding


def _mixture_use(mixture: "Mixture", choice: "RegionChoice") -> MixtureUse:
    distance = round(choice.distance, 6)
    return MixtureUse(mixture.name, mixture.digest, choice.region, distance, choice.fallback, choice.nearest)


def _shortened(prompt: "FewShotPrompt") -> list[tuple["FewShotPrompt", Dropped | None]]:
    """`prompt` and its shorter forms, the last one empty."""
    from prompts.mixture.layout import PLAIN

    bodies: list[tuple[FewShotPrompt, Dropped | None]] = [(prompt, None)]
    if prompt.demos and prompt.instruction:
        bodies.append((replace(prompt, demos=()), "demos"))
    if not prompt.plain:
        bodies.append((PLAIN, "prompt"))
    return bodies
