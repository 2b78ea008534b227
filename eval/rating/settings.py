"""Settings of ratings."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RatingSettings:
    """`rounds`: bootstrap samples; `baseline`: the model that scores 50, by default the one with most
    verdicts; `power`: of the minimum detectable difference; `flips`: of the permutation test."""

    rounds: int = 1000
    confidence: float = 0.95
    seed: int = 0
    baseline: str | None = None
    power: float = 0.8
    flips: int = 10_000

    def __post_init__(self) -> None:
        if self.rounds < 10:
            raise ValueError("rounds must be 10 or more: an interval needs draws")
        if not 0.5 < self.confidence < 1:
            raise ValueError("confidence must lie between 0.5 and 1, such as 0.95")
        if not 0 < self.power < 1:
            raise ValueError("power must lie between 0 and 1, such as 0.8")

    def document(self) -> dict[str, Any]:
        return {
            "bootstrap_rounds": self.rounds,
            "bootstrap_unit": "question",
            "confidence": self.confidence,
            "seed": self.seed,
            "power": self.power,
        }
