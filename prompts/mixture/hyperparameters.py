"""Every hyperparameter of a build in one place, with the defaults of arXiv 2407.00256 where it has one."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prompts.mixture.answer_metrics import MetricName
from prompts.mixture.layout import Layout


class BuildConfig(BaseModel):
    """How a mixture is built. The same demos, config, encoder and answers give the same mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(0, ge=0, lt=2**31)
    """Of the split, the clustering, the demos that queries show, and the model's own sampling."""
    metric: MetricName = "exact"
    """How an answer is scored against a demo's output."""
    layout: Layout = "turns"
    """Demos as turns of the conversation, which small instruct models copy best, or as a block of text."""

    held_out_share: float = Field(0.15, ge=0, le=0.5)
    """Of the demos, those that nothing is chosen on: the mixture's figures come from them. Each of the others
    may be both shown and asked, though never at once: no prompt that is compared shows the demo that is
    asked, or one that the encoder cannot tell from it. The paper divides them into some to show and some to
    ask, and so chooses on fewer."""
    held_out_most: int = Field(60, ge=0)
    """Demos held out at most, however many there are."""

    min_regions: int = Field(1, ge=1)
    """The paper begins with 2; one region is for demos that do not fall apart."""
    max_regions: int = Field(10, ge=1, le=64)
    region_penalty: float = Field(0.02, ge=0)
    """What each region adds to the share of inertia that clustering minimises."""
    min_region_demos: int = Field(5, ge=1)
    """Smaller clusters join their nearest neighbour: nothing can be chosen on two demos."""
    radius_slack: float = Field(1.03, gt=0)
    """What radii are multiplied by. Not in the paper. The farthest of a few demos is not the farthest there
    can be: at 1 twice as many requests of the demos' own kind were turned away."""
    radius_quantile: float = Field(1.0, gt=0, le=1)
    """Of the demos' distances from their region: beyond it a request is far. Not in the paper. At 0.95 twice
    as many requests of the demos' own kind were turned away, and no more strangers."""

    candidates: int = Field(20, ge=0, le=200)
    """Instructions to induce, over all regions."""
    induction_demos: int = Field(5, ge=1)
    """Demos in one induction query."""
    induction_temperature: float = Field(0.9, ge=0, le=2)
    induction_tokens: int = Field(96, ge=8)
    """Tokens that an induced instruction may have."""
    max_instruction_chars: int = Field(500, ge=20)

    scoring_samples: int = Field(20, ge=1)
    """Demos, at most, that candidates are scored on without demos."""
    kept_instructions: int = Field(4, ge=0)
    """Best candidates that go into the joint search, beside the empty instruction."""

    demo_counts: tuple[Annotated[int, Field(ge=1)], ...] = (4, 8)
    """How many of its demos a region may show, beside none; the paper shows all there are."""
    shared_demos: int = Field(8, ge=0)
    """Size of one more set, of demos from everywhere, that competes in every region. Not in the paper."""
    nearest_counts: tuple[Annotated[int, Field(ge=1)], ...] = (4, 8)
    """How many demos nearest to the single request a region may show instead. Not in the paper."""
    region_samples: int = Field(40, ge=1)
    """Demos of a region, at most, that its prompts are compared on."""
    shrinkage: float | None = Field(None, ge=0)
    """Samples that the mean over all regions counts for in a region's own, against the winner's curse; by
    default estimated from how much regions differ. 0 trusts each region's samples alone, as in the paper."""
    prior_samples: float = Field(8.0, ge=0)
    """The same where too few samples say how much regions differ, and for the radii."""
    token_weight: float = Field(0.02, ge=0)
    """Accuracy that a prompt must gain for each 1,000 tokens it adds to a request."""
    own_token_weight: float = Field(0.06, ge=0)
    """The same for tokens that are this request's own, as nearest demos are: no other request has left them
    in the server's prefix cache."""

    answer_tokens: int | None = Field(None, ge=1)
    """Tokens that an answer may have; by default what the longest demo output needs."""
    context_tokens: int | None = Field(None, ge=16)
    """Tokens of prompt and answer together that the model takes; longer sets of demos are not tried."""
    concurrency: int = Field(16, ge=1, le=1024)
    """Calls in flight."""
    max_calls: int = Field(1500, ge=1)
    """Calls, those answered from the cache included, that a build never exceeds."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_regions > self.max_regions:
            raise ValueError("min_regions is more than max_regions")
        return self
