"""The ways to prompt that are compared, by name: each is prepared from the same demos, then asked alike."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.mixtures.baseline_prompts import (
    MixturePrompt,
    NearestDemos,
    PromptBaseline,
    best_instruction,
    random_demos,
    zero_shot,
)
from prompts.mixture.build import Encode, build
from prompts.mixture.call_budget import Ask, Progress
from prompts.mixture.demos import Demo
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Mixture
from prompts.mixture.pool import DemoPool, Matrix

MIXTURE = "mixture"


@dataclass(frozen=True, slots=True)
class MethodSetting:
    """What methods are prepared from: demos with their embeddings (n, d), and how the model is asked."""

    demos: tuple[Demo, ...]
    embeddings: Matrix
    config: BuildConfig
    shots: int
    ask: Ask
    encode: Encode
    progress: Progress | None = None
    learned: dict[str, int] = field(default_factory=dict)
    """Calls that methods took to prepare, for those that must not take more."""


@dataclass(frozen=True, slots=True)
class PreparedMethod:
    """A method ready to be asked. `bill` says what preparing took, `facts` what was chosen."""

    baseline: PromptBaseline
    bill: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    mixture: Mixture | None = None


async def _mixture(setting: MethodSetting) -> PreparedMethod:
    mixture = await build(
        setting.demos, setting.config, setting.ask, setting.encode, progress=setting.progress
    )
    bill = mixture.manifest["bill"]
    setting.learned[MIXTURE] = bill["calls"] + bill["cached"]
    regions = [
        {
            "demo_set": found["demo_set"],
            "demos": found["demos"],
            "instruction": region.instruction,
            "asked": found["asked"],
            "estimate": found["estimate"],
            "plain_estimate": found["plain_estimate"],
        }
        for region, found in zip(mixture.regions, mixture.manifest["search"], strict=True)
    ]
    facts = {"regions": regions, "notes": mixture.manifest["notes"]}
    return PreparedMethod(MixturePrompt(mixture), bill, facts, mixture)


async def _zero_shot(setting: MethodSetting) -> PreparedMethod:
    return PreparedMethod(zero_shot(setting.config.layout))


async def _instruction(setting: MethodSetting) -> PreparedMethod:
    found, bill = await best_instruction(
        setting.demos, setting.config, setting.ask, setting.learned[MIXTURE], progress=setting.progress
    )
    return PreparedMethod(found, asdict(bill), {"instruction": found.prompt.instruction})


async def _random(setting: MethodSetting) -> PreparedMethod:
    return PreparedMethod(
        random_demos(setting.demos, setting.shots, setting.config.seed, setting.config.layout)
    )


async def _nearest(setting: MethodSetting) -> PreparedMethod:
    pool = DemoPool(setting.demos, setting.embeddings)
    return PreparedMethod(NearestDemos(pool, setting.shots, setting.config.layout))


METHODS: dict[str, Callable[[MethodSetting], Awaitable[PreparedMethod]]] = {
    MIXTURE: _mixture,
    "zero-shot": _zero_shot,
    "instruction": _instruction,
    "random demos": _random,
    "nearest demos": _nearest,
}
"""The mixture first: the search for one instruction gets as many calls as it took."""


def kind_of_prompt(region: Mapping[str, Any]) -> str:
    """What a region of `facts` puts in front of a request."""
    kinds = {"region": "own demos", "shared": "shared demos", "nearest": "nearest demos"}
    demos = kinds[region["demo_set"].split(":")[0]] if region["demos"] else ""
    parts = [part for part in ("instruction" if region["instruction"] else "", demos) if part]
    return " + ".join(parts) or "plain"


def regions_of(prepared: PreparedMethod, embeddings: Matrix) -> list[int | None]:
    """The region of each test item, None where it fell back; empty for methods without regions."""
    if prepared.mixture is None:
        return []
    return [prepared.mixture.choose(np.asarray(row, dtype=np.float32)).region for row in embeddings]
