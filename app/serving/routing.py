"""The router as the service holds it: loaded once, swapped as a whole, run in bounded worker threads."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from app.errors import ServiceError
from app.serving.operator_rules import load_rules
from app.serving.request_parsing import Names
from app.serving.strategy_choice import DEFAULT, Chosen, choose_strategy
from app.settings import Settings
from experts.registry import Expert, Registry
from routers.decision import SINGLE, Choice, Classification, Decision, Reason, Routed
from routers.request import Capability, Request, Turn, Vector

if TYPE_CHECKING:
    from routers.composition import ExpertCard
    from routers.encoder import Encoder
    from routers.policy import Policy
    from routers.router import Router

Given = TypeVar("Given")
Made = TypeVar("Made")


class RoutingDesk:
    """Decides requests, one immutable `Router` at a time.

    A reload builds a new router and assigns `router`: requests that are being decided keep the old one.
    """

    def __init__(
        self,
        router: "Router",
        registry: Registry,
        *,
        threads: int,
        queue: int,
        observe: Callable[[float], None] = lambda _: None,
        strategies: Sequence[str] = (SINGLE,),
        strategy: str = SINGLE,
    ) -> None:
        """`queue` bounds the requests that wait for one of `threads`; `observe` is told the seconds.
        `strategies` are those that clients may name, `strategy` the operator's own."""
        self.router = router
        self._registry = registry
        self._bound = threads + queue
        self._waiting = 0
        self._observe = observe
        self._strategies = tuple(strategies)
        self._strategy = strategy
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="routing")

    @property
    def names(self) -> Names:
        """What clients may name now."""
        composition = self.router.composition
        return Names(self._registry.names, composition.expert_names, composition.categories, self._strategies)

    @property
    def policy(self) -> "Policy":
        """The composition's, with the operator's rules."""
        return self.router.policy or self.router.composition.policy

    def strategy_for(
        self, request: Request, decision: Decision, options: Mapping[str, Any] | None = None
    ) -> Chosen:
        """How `decision` is to be answered, and who said so. `options` are the request's own."""
        if (
            request.strategy is None
            and self._strategy == SINGLE == decision.strategy
            and not any(rule.strategy for rule in self.policy.rules)
        ):
            return DEFAULT
        chosen = choose_strategy(request, decision, self.policy, operator=self._strategy, options=options)
        if chosen.name not in self._strategies:
            return chosen.given_up(f"there is no strategy {chosen.name!r} here")
        return chosen

    async def decide(self, request: Request) -> Decision:
        """The decision for `request`. Raises what `routers.decide` raises, and ServiceError (503) when too
        many requests wait already."""
        return (await self.route(request)).decision

    async def route(self, request: Request) -> Routed:
        """As `decide`, with the embedding that routing made of the request."""
        router = self.router
        if request.pinned_expert and request.pinned_expert not in router.composition.expert_names:
            outside = _outside(request, self._registry.get(request.pinned_expert), router.composition.digest)
            return Routed(outside)
        if request.pinned_expert is not None or request.pinned_category is not None:
            # Nothing to encode: quicker than handing it to a thread.
            return router.read(request)
        return await self._in_thread(router.read, request)

    async def embed(self, turns: Sequence[Turn]) -> Vector:
        """The embedding of a request that was settled without being read. Raises ServiceError (503)."""
        return await self._in_thread(self.router.embed, turns)

    async def _in_thread(self, work: Callable[[Given], Made], given: Given) -> Made:
        if self._waiting >= self._bound:
            raise ServiceError(
                503, "overloaded", "Too many requests wait to be routed.", headers={"retry-after": "1"}
            )
        started = time.perf_counter()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, given)
        finally:
            self._waiting -= 1
            self._observe(time.perf_counter() - started)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def load_router(
    settings: Settings, registry: Registry, strategies: Collection[str], encoder: "Encoder | None" = None
) -> "Router":
    """Read the composition of `settings`, put the registry's live facts on it and the operator's rules
    into its policy. `strategies`: those that the rules may name.

    `encoder` None loads the one of `settings`. Raises CompositionError (also when the registry lacks one
    of the composition's experts), RulesError and EncoderMissing.
    """
    from routers.composition import load_composition
    from routers.encoder import load_encoder
    from routers.router import Router

    composition = load_composition(settings.composition)
    composition = composition.with_cards([expert_card(each) for each in registry.experts.values()])
    policy = composition.policy
    if settings.rules is not None:
        labels = [key.label for key in settings.keys]
        rules = load_rules(
            settings.rules, composition.expert_names, composition.categories, labels, strategies
        )
        policy = replace(policy, rules=rules)
    if encoder is None:
        encoder = load_encoder(
            settings.encoder, precision=settings.encoder_precision, threads=settings.encoder_threads
        )
    return Router(encoder, composition, policy)


def expert_card(expert: Expert) -> "ExpertCard":
    """A registry entry as the router sees it."""
    from routers.composition import ExpertCard

    return ExpertCard(
        name=expert.name,
        params_b=expert.params_b,
        active_params_b=expert.active_params_b,
        price_input=expert.price.input,
        price_output=expert.price.output,
        context_length=expert.context_length,
        capabilities=frozenset(Capability(each) for each in expert.capabilities),
        description=expert.description,
        base=expert.base,
    )


def _outside(request: Request, expert: Expert, composition: str) -> Decision:
    """The decision for an expert that the client named and the composition does not have."""
    card = expert_card(expert)
    needed = request.prompt_tokens + request.output_tokens
    lacking = sorted(request.needs - card.capabilities)
    if lacking:
        raise ServiceError(
            400, "capability_unavailable", f"{card.name} lacks {', '.join(lacking)}.", param="model"
        )
    if needed > expert.context_length:
        raise ServiceError(
            400,
            "context_length_exceeded",
            f"About {needed} tokens are needed, the context of {card.name} holds {expert.context_length}.",
            param="messages",
        )
    return Decision(
        id=request.id,
        composition=composition,
        classification=Classification.SKIPPED,
        category=None,
        probability=None,
        runners_up=(),
        ood_score=None,
        ranking=(Choice(card.name, 0.0, 0.0, 0.0, card.active_params_b, card.price),),
        expert=card.name,
        strategy=request.strategy or SINGLE,
        reason=Reason.PINNED,
        detail=f"The client asked for {card.name}, which the composition does not have.",
    )
