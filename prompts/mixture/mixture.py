"""A mixture of prompts over one LLM: the problem space in regions, each with the prompt that works there.

Choosing and laying out need numpy alone. Knows nothing of HTTP, nor of how it was built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from prompts.mixture.demos import Demo
from prompts.mixture.layout import PLAIN, Layout, Prompt, lay_out
from prompts.mixture.pool import DemoPool, Matrix, MixtureError, Vector

__all__ = ["Matrix", "Mixture", "MixtureError", "Region", "RegionChoice", "Vector"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the problem space: `centroid` float32 (d,) in the encoder's space; `radius` is the
    Euclidean distance beyond which a request is not of this region; and the prompt of its requests: an
    instruction, and either `demos`, the same for all of them, or for each the `nearest` of the mixture's
    pool, so many."""

    centroid: Vector
    radius: float
    instruction: str = ""
    demos: tuple[Demo, ...] = ()
    nearest: int = 0


@dataclass(frozen=True, slots=True)
class RegionChoice:
    """The region whose centroid is nearest, `distance` away; none, and the fallback prompt, when that is
    beyond its radius. `nearest` has the demos of the pool that this request is shown, by their indices."""

    region: int | None
    distance: float
    fallback: bool
    nearest: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """An expert made of prompts. `base` names the LLM expert that answers; `encoder` and its revision are
    those whose embeddings `choose` takes; `pool` has the demos that regions pick from for each request;
    `manifest` holds how it was made and what it measured."""

    name: str
    base: str
    encoder: str
    encoder_revision: str
    regions: tuple[Region, ...]
    fallback: Prompt = PLAIN
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
        """Length of the embeddings that `choose` takes."""
        return int(self._centroids.shape[1])

    def choose(self, embedding: Vector) -> RegionChoice:
        """The region of a request's embedding, float32 (d,), of unit length, and the demos of the pool that
        are nearest to it where the region shows such. Of equally near regions the first is taken.

        Raises MixtureError when the embedding is of another length: another encoder made it.
        """
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
        # `not <=`: an embedding with a NaN is near to nothing.
        if not distance <= region.radius:
            return RegionChoice(None, distance, True)
        nearest = self.pool.nearest(embedding, region.nearest) if self.pool is not None else ()
        return RegionChoice(number, distance, False, nearest)

    def prompt(self, choice: RegionChoice) -> Prompt:
        """The prompt of a choice: its region's, or the fallback."""
        if choice.region is None:
            return self.fallback
        region = self.regions[choice.region]
        if self.pool is None or not choice.nearest:
            return Prompt(region.instruction, region.demos)
        return Prompt(region.instruction, self.pool.pick(choice.nearest))

    def longest(self, region: int) -> list[Prompt]:
        """Prompts that no request of a region gets longer ones than: by characters, and by bytes."""
        own = self.regions[region]
        if self.pool is None or not own.nearest:
            return [Prompt(own.instruction, own.demos)]
        return [Prompt(own.instruction, self.pool.pick(each)) for each in self.pool.longest(own.nearest)]

    def messages(self, choice: RegionChoice, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """`messages` with the chosen instruction and demos in front, shared parts first."""
        return lay_out(self.prompt(choice), messages, self.layout)
