"""Which experts there are, and how many replicas of each a number of GPUs holds. Knows no events."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scale_out.costs import Served, pool
from benchmarks.scale_out.traffic import Shape, shares

KINDS = ("small", "coder", "reasoner", "small", "coder", "large", "small", "coder", "reasoner", "small")
"""Of ten experts in the order in which they are asked: each model of experts/gpu.yaml has several fine-
tunes."""
BATCH = 64
"""At which a replica's GPU time of an answer is reckoned."""


class TooFewGpus(Exception):
    """Not every expert has a replica; the message says how many GPUs that would take."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Experts, most asked first, with the replicas of each."""

    models: tuple[Served, ...]
    replicas: tuple[int, ...]

    @property
    def gpus(self) -> int:
        return sum(model.gpus * count for model, count in zip(self.models, self.replicas, strict=True))

    def active_params_b(self, shape: Shape) -> float:
        """Average active parameters of a request, in billions."""
        asked = shares(len(self.models), shape.skew)
        return float(np.dot(asked, [model.active_params_b for model in self.models]))


def experts(count: int) -> tuple[Served, ...]:
    """`count` experts, most asked first."""
    models = pool()
    return tuple(models[KINDS[rank % len(KINDS)]] for rank in range(count))


def gpu_seconds(model: Served, shape: Shape) -> float:
    """GPU time of a mean request that finds nothing in a cache, in a batch of `BATCH`."""
    prompt = shape.system + shape.turn * shape.turns + shape.answer * (shape.turns - 1)
    context = BATCH * (prompt + shape.answer / 2)
    return model.gpus * (prompt / model.prompt_tokens_s + shape.answer * model.step_s(BATCH, context) / BATCH)


def fleet(models: Sequence[Served], gpus: int, shape: Shape) -> Fleet:
    """Replicas by demand: one each, then each to the expert whose replicas have most to do. Raises
    TooFewGpus."""
    least = sum(model.gpus for model in models)
    if least > gpus:
        raise TooFewGpus(f"{len(models)} experts need {least} GPUs to be loaded at all; there are {gpus}")
    demand = [
        share * gpu_seconds(model, shape) / model.gpus
        for share, model in zip(shares(len(models), shape.skew), models, strict=True)
    ]
    counts = [1] * len(models)
    waiting = [(-each, rank) for rank, each in enumerate(demand)]
    heapq.heapify(waiting)
    left = gpus - least
    while waiting:
        _, rank = heapq.heappop(waiting)
        if models[rank].gpus <= left:
            left -= models[rank].gpus
            counts[rank] += 1
            heapq.heappush(waiting, (-demand[rank] / counts[rank], rank))
    return Fleet(tuple(models), tuple(counts))
