"""The service's router: loaded once, swapped as a whole, run in a bounded thread pool."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.errors import ServiceError
from app.serving.chat_body import ChatRequest
from app.serving.conversations import Conversations
from app.serving.escalation_quota import EscalationQuota
from app.serving.exploration import Exploration
from app.serving.message_chain import MessageChain
from app.serving.operator_rules import load_rules
from app.serving.request_context import RequestContext
from app.serving.request_parsing import Names, least_answer, pins, routing_request
from app.settings import Settings
from base.ids import new_id
from base.suggestions import suggestion
from base.token_count import TokenCount
from experts.admission import Caller
from experts.registry import Expert, Registry
from experts.token_counter import TokenCounter
from experts.tokens import prompt_length
from routers.decide import RoutingError
from routers.decision import Choice, Classification, Decision, Reason
from routers.escalation import dear_experts
from routers.request import Capability, Request, Turn, Vector

if TYPE_CHECKING:
    from routers.composition import ExpertCard
    from routers.encoder import Encoder
    from routers.policy import Policy
    from routers.router import Router

LONG = 100_000
"""Characters of a conversation that is not digested on the event loop."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Routers:
    """What decides: the served composition's router, and the `canary`'s, which takes `share` of the
    conversations since `started_at`."""

    served: "Router"
    canary: "Router | None" = None
    share: float = 0.0
    started_at: datetime | None = None

    def of(self, conversation: str) -> "Router":
        """Who decides this conversation."""
        from routers.canary import takes

        return self.canary if self.canary is not None and takes(self.share, conversation) else self.served


class RoutingService:
    """Decides requests, by one immutable `Routers` at a time.

    A reload builds new ones and assigns `routers`: requests that are being decided keep the old.
    """

    def __init__(
        self,
        routers: Routers,
        registry: Registry,
        conversations: Conversations,
        exploration: Exploration,
        tokens: TokenCounter,
        *,
        threads: int,
        queue: int,
        quota: EscalationQuota | None = None,
        baseline: str | None = None,
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`baseline` is the quota's: the expert above whose price an answer is an escalation, None the
        cheapest. `queue` bounds the requests that wait for one of `threads`; `observe` is told seconds."""
        self.routers = routers
        self._registry = registry
        self._conversations = conversations
        self._exploration = exploration
        self._tokens = tokens
        self._bound = threads + queue
        self._quota = quota
        self._baseline = baseline
        self._waiting = 0
        self._observe = observe
        self._named: tuple[Router, Names] | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="routing")

    @property
    def router(self) -> "Router":
        """Of the served composition."""
        return self.routers.served

    @property
    def names(self) -> Names:
        """What clients may name now."""
        return self._names_by(self.router)

    def _names_by(self, router: "Router") -> Names:
        """What clients may name of what `router` decides; kept until another one decides."""
        if self._named is None or self._named[0] is not router:
            self._named = router, Names.of(self._registry, router)
        return self._named[1]

    @property
    def policy(self) -> "Policy":
        """The composition's, with the operator's rules."""
        return self.router.composition.policy

    async def route(
        self, chat: ChatRequest, *, answers: int | None = None
    ) -> tuple[Decision, RequestContext]:
        """The decision for `chat`, and the context for whoever asks its expert.

        `answers`: so many requests are answered by it. Then another expert may be drawn at random, and
        escalations count against the quota of the caller's key. None: nobody is asked.

        Raises what `routers.decide` raises, and ServiceError: 400 or 404 for an unknown name, 429 for an
        escalation that nobody may answer, 503 when too many requests wait already.
        """
        options, chain = chat.body.routing, await _chain(chat)
        router = self.routers.of(options.conversation or chain.opening_mark or chat.request_id)
        names = self._names_by(router)
        pinned, _ = pins(chat.body, names)
        going_on = await self._conversations.continuation(
            chain, chat.api_key, options.conversation, options.previous_decision
        )
        read: Callable[[Request], tuple[Decision, Vector | None]] = router.read
        experts: Sequence[str] = router.composition.expert_names
        only = pinned or (going_on.expert if going_on.hold == "tool_call" else None)
        if only is not None and only in self._registry.names:
            if only not in experts:
                read = partial(_outside, self._registry.get(only), router)
            experts = (only,)
        counts = await self._counts(chat, experts)
        current = counts.get(going_on.expert or "") or max(counts.values(), key=lambda count: count.tokens)
        known = {
            "current_expert": going_on.expert,
            "current_category": going_on.category,
            "prefix_share": going_on.prefix_share,
            "hold": going_on.hold,
            "prompt_tokens": current.tokens,
            "prompt_counts": counts,
        }
        request = routing_request(chat, names, decision_id=new_id("dec_"), known=known)
        settled = request.pinned_expert is not None or request.pinned_category is not None
        if settled and not any(rule.strategy for rule in router.composition.policy.rules):
            # Nothing to encode and no rule to match: quicker than handing it to a thread.
            decision, embedding = read(request)
        else:
            decision, embedding = await self._timed(read, request)
        dear: frozenset[str] = frozenset()
        if answers is not None:
            quota, key = self._quota, chat.api_key
            if self._exploration.rate and (quota is None or quota.left(key)):
                decision = self._exploration.apply(decision, in_conversation=going_on.expert is not None)
            if quota is not None:
                dear = dear_experts(decision, router.composition, self._baseline)
                decision = quota.admit(key, decision, dear, answers)
        context = RequestContext(request.turns, embedding, decision.sure_category, chat.request_id)
        context.chat, context.client_headers = chat.document, chat.dialect_headers
        context.chain, context.makers, context.dear = chain, going_on.makers, dear
        context.caller = Caller(
            chat.api_key,
            options.priority,
            options.conversation or chain.opening_mark or "",
            going_on.replica,
            going_on.prefix_share,
            going_on.hold == "provider_state" and going_on.replica is not None,
        )
        context.strategies = router.composition.strategies
        if pinned is not None:
            # Of state that nobody here made the client knows best who did.
            context.makers = {**dict.fromkeys(chain.state(), pinned), **going_on.makers}
        return decision, context

    async def other_choice(self, decision: Decision, turns: Sequence[Turn]) -> str | None:
        """The expert that the other composition would have chosen for a request that one of the two decided;
        None without a canary, and where that one would have refused it. Raises ServiceError (503)."""
        routers = self.routers
        if routers.canary is None:
            return None
        decided = routers.canary.composition.digest == decision.composition
        other = routers.served if decided else routers.canary
        excluded = {choice.expert for choice in decision.ranking if choice.excluded is not None}
        known = set(other.composition.expert_names)
        request = Request(decision.id, tuple(turns), exclude=frozenset(excluded & known))
        try:
            return (await self.in_thread(other.route, request)).expert
        except RoutingError:
            return None

    async def _counts(self, chat: ChatRequest, names: Sequence[str]) -> dict[str, TokenCount]:
        """The request's tokens for each expert that may answer it."""
        experts = [self._registry.get(name) for name in names]
        return await self._tokens.fits(experts, chat.document, least_answer(chat.body))

    async def embed(self, turns: Sequence[Turn]) -> Vector:
        """The embedding of a request that was settled without being read. Raises ServiceError (503)."""
        return await self._timed(self.router.embed, turns)

    async def _timed(self, work: Callable[[Given], Made], given: Given) -> Made:
        started = time.perf_counter()
        try:
            return await self.in_thread(work, given)
        finally:
            self._observe(time.perf_counter() - started)

    async def in_thread(self, work: Callable[[Given], Made], given: Given) -> Made:
        """`work(given)` by one of the routing threads. Raises ServiceError (503) when too many wait."""
        if self._waiting >= self._bound:
            raise ServiceError(
                503, "overloaded", "Too many requests wait to be routed.", headers={"retry-after": "1"}
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, given)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _chain(chat: ChatRequest) -> MessageChain:
    """By what the conversation is recognised; of long ones in a thread."""
    messages = chat.document["messages"]
    if prompt_length(chat.document) < LONG:
        return MessageChain(chat.api_key, messages)
    return await asyncio.to_thread(MessageChain, chat.api_key, messages)


def load_routers(
    settings: Settings, registry: Registry, strategies: Collection[str], encoder: "Encoder | None" = None
) -> Routers:
    """The routers of the composition of `settings` and of its canary, if there is one. `strategies`: those of
    the service.

    `encoder` None loads the one of `settings`. Raises CompositionError (also when the registry lacks one
    of a composition's experts), RulesError and EncoderMissing.
    """
    from routers.canary import CanaryFolders
    from routers.composition import CompositionError
    from routers.encoder import load_encoder
    from routers.state_cache import CachedStates

    folders = CanaryFolders(settings.composition)
    if encoder is None:
        loaded = load_encoder(
            settings.encoder, precision=settings.encoder_precision, threads=settings.encoder_threads
        )
        encoder = CachedStates(loaded, settings.encoder_cache)
    served = _load_router(settings.composition, settings, registry, strategies, encoder)
    canary = folders.settings()
    if canary is None:
        return Routers(served)
    try:
        second = _load_router(folders.canary, settings, registry, strategies, encoder)
    except CompositionError as error:
        raise CompositionError(
            f"the canary cannot be served: {error}; `coterie canary stop` ends it"
        ) from error
    return Routers(served, second, canary.share, canary.started_at)


def _load_router(
    folder: Path, settings: Settings, registry: Registry, strategies: Collection[str], encoder: "Encoder"
) -> "Router":
    """Read a composition, put the registry's live facts on it and the operator's rules into its policy."""
    from routers.composition import CompositionError, load_composition
    from routers.language import identify_language
    from routers.router import Router
    from routers.strategy_choice import StrategySetting

    composition = load_composition(folder)
    if composition.strategies is not None:
        strategies = (*strategies, *(each.id for each in composition.strategies.policies))
    composition = composition.with_cards([expert_card(each) for each in registry.experts.values()])
    if (alternative := settings.alternative) is not None:
        if alternative not in composition.expert_names:
            hint = suggestion(alternative, composition.expert_names)
            raise CompositionError(
                f"COTERIE_ALTERNATIVE: the composition has no expert {alternative!r}; {hint}"
            )
        composition = replace(composition, policy=replace(composition.policy, alternative=alternative))
    if (baseline := settings.escalation_baseline) is not None and baseline not in composition.expert_names:
        hint = suggestion(baseline, composition.expert_names)
        raise CompositionError(
            f"COTERIE_ESCALATION_BASELINE: the composition has no expert {baseline!r}; {hint}"
        )
    if settings.rules is not None:
        labels = [key.label for key in settings.keys]
        rules = load_rules(
            settings.rules, composition.expert_names, composition.categories, labels, strategies
        )
        composition = replace(composition, policy=replace(composition.policy, rules=rules))
        if any(rule.languages for rule in rules):
            identify_language("")  # its model takes a second to load: now, and not with the first request
    return Router(encoder, composition, StrategySetting(settings.strategy, strategies))


def expert_card(expert: Expert) -> "ExpertCard":
    """A registry entry as the router sees it."""
    from routers.composition import ExpertCard

    return ExpertCard(
        name=expert.name,
        params_b=expert.params_b,
        active_params_b=expert.active_params_b,
        price_input=expert.price.input,
        price_cached=expert.price.cached_input,
        price_output=expert.price.output,
        context_length=expert.context_length,
        capabilities=frozenset(Capability(each) for each in expert.capabilities),
        description=expert.description,
        base=expert.base,
    )


def _outside(expert: Expert, router: "Router", request: Request) -> tuple[Decision, None]:
    """The decision for an expert that the client named, or whose tool call is open, and that the composition
    does not have. Nothing of the request is embedded."""
    from routers.decide import exclusion
    from routers.policy import match_rules
    from routers.strategy_choice import choose_strategy, one_expert

    card = expert_card(expert)
    lacking = sorted(request.needs - card.capabilities)
    if lacking:
        raise ServiceError(
            400, "capability_unavailable", f"{card.name} lacks {', '.join(lacking)}.", param="model"
        )
    if (why := exclusion(card, request)) is not None:
        raise ServiceError(400, "context_length_exceeded", f"{card.name}: {why}.", param="messages")
    policy = router.composition.policy
    rule = match_rules(policy.rules, request).strategy
    strategy = choose_strategy(request, None, policy, rule, router.strategies)
    held = request.pinned_expert is None
    if held:
        strategy = one_expert(strategy, "a tool call is open")
    decision = Decision(
        id=request.id,
        composition=router.composition.digest,
        classification=Classification.SKIPPED,
        category=None,
        probability=None,
        runners_up=(),
        ood_score=None,
        ranking=(Choice(card.name, 0.0, 0.0, 0.0, card.active_params_b),),
        expert=card.name,
        strategy=strategy.name,
        strategy_source=strategy.source,
        strategy_detail=strategy.detail,
        reason=Reason.HELD if held else Reason.PINNED,
        detail=f"A tool call of {card.name} is open; it goes on."
        if held
        else f"The client asked for {card.name}, which the composition does not have.",
    )
    return decision, None
