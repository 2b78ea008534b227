"""What a run is made of: sizes, seeds and the build configuration, all of it in the record of each result."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from prompts.mixture.hyperparameters import BuildConfig

Preset = Literal["small", "reduced", "paper"]

REDUCED: dict[str, Any] = {
    "candidates": 6,
    "scoring_samples": 8,
    "kept_instructions": 2,
    "region_samples": 20,
    "demo_counts": (8,),
    "nearest_counts": (4, 8),
    "max_calls": 500,
}
"""A third of the paper's calls: what two shared cores can do for every task and seed in hours."""

SMALL = REDUCED | {"candidates": 3, "scoring_samples": 5, "kept_instructions": 1, "max_calls": 250}
"""A model ten times slower on the same cores."""

PRESETS: dict[Preset, dict[str, Any]] = {"small": SMALL, "reduced": REDUCED, "paper": {}}
"""What each preset says otherwise than the builder's defaults, which are the paper's."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each task is asked."""

    train: int = 80
    test: int = 50
    shots: int = 8
    """Demos of the few-shot baselines; as many as a region may show."""
    concurrency: int = 24
    preset: Preset = "reduced"

    def config(self, *, seed: int, metric: str, max_tokens: int, context_tokens: int | None) -> BuildConfig:
        """The build's configuration. Nothing is held out: the test items are apart already."""
        return BuildConfig.model_validate(
            {
                **PRESETS[self.preset],
                "held_out_share": 0.0,
                "seed": seed,
                "metric": metric,
                "answer_tokens": max_tokens,
                "context_tokens": context_tokens,
                "concurrency": self.concurrency,
            }
        )

    def record(self) -> dict[str, Any]:
        """All that decides results, the builder's defaults included."""
        config = self.config(seed=0, metric="exact", max_tokens=1, context_tokens=None)
        told_apart = {"seed", "metric", "answer_tokens", "context_tokens", "concurrency"}
        return {name: value for name, value in asdict(self).items() if name != "concurrency"} | {
            "config": config.model_dump(mode="json", exclude=told_apart)
        }
