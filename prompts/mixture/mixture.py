"""A mixture of prompts over one LLM: the problem space in regions, each with the prompt that works there.

Choosing and laying out need numpy alone. Knows nothing of HTTP, nor of how it was built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts.mixture.demos import Demo
from prompts.mixture.layout import PLAIN, Layout, Prompt, lay_out

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


class MixtureError(Exception):
    """A mixture cannot be built, read or used; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the problem space: `centroid` float32 (d,) in the encoder's space; `radius` is the
    Euclidean distance beyond which a request is not of this region; and the prompt of its requests."""

    centroid: Vector
    radius: float
    instruction: str = ""
    demos: tuple[Demo, ...] = ()

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.instruction, self.demos)


@dataclass(frozen=True, slots=True)
class RegionChoice:
    """The region whose centroid is nearest, `distance` away; none, and the fallback prompt, when that is
    beyond its radius."""

    region: int | None
    distance: float
    fallback: bool


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """An expert made of prompts. `base` names the LLM expert that answers; `encoder` and its revision are
    those whose embeddings `choose` takes; `manifest` holds how it was made and what it measured."""

    name: str
    base: str
    encoder: str
    encoder_revision: str
    regions: tuple[Region, ...]
    fallback: Prompt = PLAIN
    layout: Layout = "turns"
    digest: str = ""
    manifest: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    _centroids: Matrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.regions:
            raise MixtureError(f"the mixture {self.name!r} has no region: build it again")
        shapes = {region.centroid.shape for region in self.regions}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1:
            raise MixtureError(f"the regions of {self.name!r} are not of one space: build it again")
        stacked = np.stack([region.centroid for region in self.regions]).astype(np.float32)
        object.__setattr__(self, "_centroids", stacked)

    @property
    def dimension(self) -> int:
        """Length of the embeddings that `choose` takes."""
        return int(self._centroids.shape[1])

    def choose(self, embedding: Vector) -> RegionChoice:
        """The region of a request's embedding, float32 (d,), of unit length. Of equally near regions the
        first is taken.

        Raises MixtureError when the embedding is of another length: another encoder made it.
        """
        if embedding.shape != (self.dimension,):
            raise MixtureError(
                f"the mixture {self.name!r} takes embeddings of {self.encoder} with {self.dimension} "
                f"numbers, not of shape {embedding.shape}"
            )
        gaps = self._centroids - embedding
        distances = np.sqrt(np.einsum("rd,rd->r", gaps, gaps))
        nearest = int(distances.argmin())
        distance = float(distances[nearest])
        # `not <=`: an embedding with a NaN is near to nothing.
        far = not distance <= self.regions[nearest].radius
        return RegionChoice(None if far else nearest, distance, far)

    def prompt(self, choice: RegionChoice) -> Prompt:
        """The prompt of a choice: its region's, or the fallback."""
        return self.fallback if choice.region is None else self.regions[choice.region].prompt

    def messages(self, choice: RegionChoice, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """`messages` with the chosen instruction and demos in front, shared parts first."""
        return lay_out(self.prompt(choice), messages, self.layout)
