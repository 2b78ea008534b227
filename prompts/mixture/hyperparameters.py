"""The hyperparameters of a build, with the defaults of arXiv 2407.00256 where it has one."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from base.strict_model import StrictModel
from prompts.mixture.answer_metrics import MetricName
from prompts.mixture.layout import Layout


class BuildConfig(StrictModel):
    """Builds are deterministic given demos, config, encoder and answers."""

    seed: int = Field(0, ge=0, lt=2**31)
    """For split, clustering, drawn demos and the model's sampling."""
    metric: MetricName = "exact"
    layout: Layout = "turns"
    """Demos as turns of the conversation (best for small instruct models) or as a block of text."""

    held_out_share: float = Field(0.15, ge=0, le=0.5)
    """Share of the demos that only evaluate the mixture. The others are both shown and asked, but no prompt
    shows the asked demo or a near-duplicate; the paper splits them instead."""
    held_out_most: int = Field(60, ge=0)
    """Maximum number of held-out demos."""

    min_regions: int = Field(1, ge=1)
    """The paper begins with 2; one region serves homogeneous demos."""
    max_regions: int = Field(10, ge=1, le=64)
    region_penalty: float = Field(0.02, ge=0)
    """Added per region to the remaining share of inertia, which clustering minimises."""
    min_region_demos: int = Field(5, ge=1)
    """Smaller clusters are merged into their nearest neighbours."""
    radius_slack: float = Field(1.03, gt=0)
    """Factor on the radii (not in the paper): at 1, twice as many in-distribution requests were rejected."""
    radius_quantile: float = Field(1.0, gt=0, le=1)
    """Quantile of the demos' distances that gives the radius (not in the paper): at 0.95, twice as many
    in-distribution requests were rejected, and no more others."""

    candidates: int = Field(20, ge=0, le=200)
    """Instructions to induce over all regions."""
    induction_demos: int = Field(5, ge=1)
    """Demos per induction query."""
    induction_temperature: float = Field(0.9, ge=0, le=2)
    induction_tokens: int = Field(96, ge=8)
    """Maximum tokens of an induced instruction."""
    max_instruction_chars: int = Field(500, ge=20)

    scoring_samples: int = Field(20, ge=1)
    """Maximum number of demos on which candidates are scored zero-shot."""
    kept_instructions: int = Field(4, ge=0)
    """Best candidates for the joint search, beside the empty instruction."""

    demo_counts: tuple[Annotated[int, Field(ge=1)], ...] = (4, 8)
    """Candidate numbers of a region's own demos; the paper shows all."""
    shared_demos: int = Field(8, ge=0)
    """Size of the candidate set that is the same in every region (not in the paper)."""
    nearest_counts: tuple[Annotated[int, Field(ge=1)], ...] = (4, 8)
    """Candidate numbers of demos nearest to the request (not in the paper)."""
    region_samples: int = Field(40, ge=1)
    """Maximum number of a region's demos on which its prompts are compared."""
    shrinkage: float | None = Field(None, ge=0)
    """Pseudo-count of the mean over all regions in a region's estimate, against the winner's curse; estimated
    by default, 0 as in the paper."""
    prior_samples: float = Field(8.0, ge=0)
    """Pseudo-count where it cannot be estimated, and for the radii."""
    token_weight: float = Field(0.02, ge=0)
    """Accuracy that a prompt must gain per 1,000 added tokens."""
    own_token_weight: float = Field(0.06, ge=0)
    """The same for tokens of nearest demos, which no prefix cache holds."""

    answer_tokens: int | None = Field(None, ge=1)
    """Maximum tokens of an answer; by default from the longest output."""
    context_tokens: int | None = Field(None, ge=16)
    """The model's context length."""
    concurrency: int = Field(16, ge=1, le=1024)
    max_calls: int = Field(1500, ge=1)
    """Maximum number of calls, cached ones included."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_regions > self.max_regions:
            raise ValueError("min_regions is more than max_regions")
        return self
