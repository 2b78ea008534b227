"""The router of a service: an encoder, a composition and a policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from routers.composition import Composition, CompositionError
from routers.conversation import (
    EARLIER_CHARACTERS,
    LATEST_CHARACTERS,
    is_blank,
    latest_user_text,
    routing_text,
    text_with_pasted,
)
from routers.decide import ANY_STRATEGY, decide, refuse_unfit
from routers.decision import Classification, Decision
from routers.encoder import Encoder
from routers.features import features_of
from routers.policy import MatchedRules, match_rules
from routers.request import Request, Turn, Vector
from routers.strategy_choice import StrategySetting


@dataclass(frozen=True, slots=True)
class Router:
    """Immutable; a reload makes another one. It decides by the policy of its composition."""

    encoder: Encoder
    composition: Composition
    strategies: StrategySetting = ANY_STRATEGY

    def __post_init__(self) -> None:
        mine = (self.encoder.name, self.encoder.revision)
        wanted = (self.composition.encoder, self.composition.encoder_revision)
        if mine != wanted:
            raise CompositionError(
                f"the composition was fitted with the encoder {' '.join(wanted)}, this one is "
                f"{' '.join(mine)}: fit the composition again or load that encoder"
            )

    def route(self, request: Request) -> Decision:
        """Embed the request if necessary, and decide: milliseconds of CPU, for a worker thread."""
        return self.read(request)[0]

    def read(self, request: Request) -> tuple[Decision, Vector | None]:
        """`route`, with the embedding that was made for it, shape (encoder.dimension,) and unit length; None
        when nothing had to be read."""
        policy = self.composition.policy
        rules = match_rules(policy.rules, request)
        settled = request.pinned_expert or request.pinned_category or rules.target
        unread = request.features is None and not settled
        text = ""
        if unread:
            refuse_unfit(request, self.composition)
            text = routing_text(request.turns, policy.recent_turns)
            # Nothing is not like anything: an image alone is not small talk.
            if not is_blank(text):
                request = replace(request, features=features_of(self.encoder, [text])[0])
        decision = decide(request, self.composition, policy, self.strategies, rules)
        if unread and decision.classification is Classification.UNCLASSIFIED:
            decision, request = self._with_pasted(decision, request, rules)
        length = len(latest_user_text(request.turns)) if unread else 0
        if length > LATEST_CHARACTERS and len(text) > EARLIER_CHARACTERS:
            sample = f"The router read a sample of {LATEST_CHARACTERS:,} of its {length:,} characters."
            decision = replace(decision, detail=f"{decision.detail} {sample}")
        if request.features is None:
            return decision, None
        return decision, request.features[: self.encoder.dimension]

    def _with_pasted(
        self, decision: Decision, request: Request, rules: MatchedRules
    ) -> tuple[Decision, Request]:
        """The decision with what was pasted beside the words that left it unclear, where that settles it."""
        text = text_with_pasted(request.turns, self.composition.policy.recent_turns)
        if text is None:
            return decision, request
        more = replace(request, features=features_of(self.encoder, [text])[0])
        other = decide(more, self.composition, self.composition.policy, self.strategies, rules)
        return (other, more) if other.classification is Classification.CLASSIFIED else (decision, request)

    def embed(self, turns: Sequence[Turn]) -> Vector:
        """The embedding of `turns` as `read` makes it, shape (encoder.dimension,)."""
        text = routing_text(turns, self.composition.policy.recent_turns)
        vector: Vector = self.encoder.encode([text])[0]
        return vector
