"""A mixture of prompts over one LLM: regions of the embedding space, each with its prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from prompts.mixture.demos import Demo
from prompts.mixture.layout import PLAIN, FewShotPrompt, Layout, lay_out
from prompts.mixture.pool import DemoPool, Matrix, MixtureError, Vector

__all__ = ["Matrix", "Mixture", "MixtureError", "Region", "RegionChoice", "Vector"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A ball in embedding space: `centroid` float32 (d,), Euclidean `radius`; and its prompt: an instruction
    with fixed `demos`, or with the `nearest` demos of the mixture's pool."""

    centroid: Vector
    radius: float
    instruction: str = ""
    demos: tuple[Demo, ...] = ()
    nearest: int = 0


@dataclass(frozen=True, slots=True)
class RegionChoice:
    """The region of the nearest centroid at `distance`; None, and the fallback prompt, beyond its radius.
    `nearest`: indices of the pool's demos to show."""

    region: int | None
    distance: float
    fallback: bool
    nearest: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """`base`: the LLM expert that answers; `encoder`, `encoder_revision`: of the embeddings for `choose`;
    `pool`: demos for per-request selection; `manifest`: record of the build."""

    name: str
    base: str
    encoder: str
    encoder_revision: str
    regions: tuple[Region, ...]
    fallback: FewShotPrompt = PLAIN
    layout: Layout = "turns"
    pool: DemoPool | None = None
    digest: str = ""
    manifest: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    _centroids: Matrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.regions:
            raise MixtureError(f"the mixture {self.name!r} has no region: build it again")
        shapes = {region.centroid.shape for region in self.regions}
        if self.pool is not None:
            shapes.add(self.pool.embeddings.shape[1:])
        if len(shapes) > 1 or len(next(iter(shapes))) != 1:
            raise MixtureError(f"the regions of {self.name!r} are not of one space: build it again")
        for region in self.regions:
            if region.nearest < 0 or not region.radius >= 0:
                raise MixtureError(
                    f"a region of {self.name!r} has no radius, or fewer than no demos: build it again"
                )
            if region.nearest and (region.demos or self.pool is None):
                raise MixtureError(
                    f"a region of {self.name!r} has no pool, or two kinds of demos: build it again"
                )
        stacked = np.stack([region.centroid for region in self.regions]).astype(np.float32)
        object.__setattr__(self, "_centroids", stacked)

    @property
    def dimension(self) -> int:
        """Length of the embeddings."""
        return int(self._centroids.shape[1])

    def choose(self, embedding: Vector) -> RegionChoice:
        """The region and demos for an embedding, float32 (d,), unit length; ties go to the first region.
        Raises MixtureError for another dimension."""
        if embedding.shape != (self.dimension,):
            raise MixtureError(
                f"the mixture {self.name!r} takes embeddings of {self.encoder} with {self.dimension} "
                f"numbers, not of shape {embedding.shape}"
            )
        gaps = self._centroids - embedding
        distances = np.sqrt(np.einsum("rd,rd->r", gaps, gaps))
        number = int(distances.argmin())
        distance = float(distances[number])
        region = self.regions[number]
        # `not <=`: false for NaN.
        if not distance <= region.radius:
            return RegionChoice(None, distance, True)
        nearest = self.pool.nearest(embedding, region.nearest) if self.pool is not None else ()
        return RegionChoice(number, distance, False, nearest)

    def prompt(self, choice: RegionChoice) -> FewShotPrompt:
        """The prompt of a choice."""
        if choice.region is None:
            return self.fallback
        region = self.regions[choice.region]
        if self.pool is None or not choice.nearest:
            return FewShotPrompt(region.instruction, region.demos)
        return FewShotPrompt(region.instruction, self.pool.pick(choice.nearest))

    def longest(self, region: int) -> list[FewShotPrompt]:
        """The longest prompts of a region, by characters and by bytes."""
        own = self.regions[region]
        if self.pool is None or not own.nearest:
            return [FewShotPrompt(own.instruction, own.demos)]
        return [
            FewShotPrompt(own.instruction, self.pool.pick(each)) for each in self.pool.longest(own.nearest)
        ]

    def messages(self, choice: RegionChoice, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """`messages` with the chosen prompt in front."""
        return lay_out(self.prompt(choice), messages, self.layout)
