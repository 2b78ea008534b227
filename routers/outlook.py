"""What each expert is worth, and takes, for requests of which a posterior over the categories is known, or
nothing. Knows nothing of a single request."""

from collections.abc import Sequence
from dataclasses import dataclass

from routers.request import Vector
from routers.request_costs import Card, ExpectedTokens, MeanUse, Weights, costs, mean_uses


@dataclass(frozen=True, slots=True)
class Outlook:
    """By expert: expected scores (0..1), what the policy takes off them, what requests take (`uses`; None:
    not known). `posterior` (categories,): None when nothing is known of the category."""

    utilities: Sequence[float]
    costs: Sequence[float]
    uses: Sequence[MeanUse] | None
    posterior: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        experts: Sequence[Card],
        policy: Weights,
        tokens: ExpectedTokens | None,
        utilities: Vector,
        posterior: Vector | None,
    ) -> "Outlook":
        """Costs are weighed by the mean `tokens` of the categories, as in fits and replays, which know no
        counts of a prompt."""
        row = None if posterior is None else posterior[None, :]
        return cls(
            utilities.tolist(),
            costs(experts, policy, tokens, row)[0].tolist(),
            None if tokens is None else mean_uses(tokens, experts, posterior),
            None if posterior is None else tuple(posterior.tolist()),
        )
