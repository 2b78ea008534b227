"""A small world to route in: three categories, three experts, and features that say what they mean."""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from routers.classifiers import Classifier, LogisticClassifier
from routers.composition import Composition, ExpertCard
from routers.decide import decide
from routers.decision import Decision
from routers.encoder import DIMENSION
from routers.novelty import Novelty
from routers.policy import Policy
from routers.request import Matrix, Request, Turn, Vector

CATEGORIES = ("coding", "law", "smalltalk")
SHARPNESS = 8.0
UTILITIES = (
    # small, coder, large
    (0.2, 0.8, 0.7),  # coding
    (0.1, 0.2, 0.9),  # law
    (0.6, 0.3, 0.6),  # smalltalk
)


def card(name: str, params_b: float = 1.0, **facts: Any) -> ExpertCard:
    return ExpertCard(**{"name": name, "params_b": params_b, "active_params_b": params_b, **facts})


SMALL = card("small", 0.1, context_length=2_000)
CODER = card("coder", 1.5, context_length=4_000)
LARGE = card("large", 70.0, context_length=8_000)


def classifier() -> LogisticClassifier:
    """Reads the first three features as evidence for the three categories and ignores the fourth."""
    return LogisticClassifier(SHARPNESS * np.eye(3, 4, dtype=np.float32), np.zeros((1, 3), dtype=np.float32))


def composition(
    experts: Sequence[ExpertCard] = (SMALL, CODER, LARGE),
    utilities: Sequence[Sequence[float]] = UTILITIES,
    policy: Policy | None = None,
    *,
    name: str = "logistic",
    stage1: Classifier | None = None,
    prototypes: Matrix | None = None,
    **facts: Any,
) -> Composition:
    """A composition whose novelty is the plain distance, 1 - cosine, to the three categories' axes."""
    table = np.asarray(utilities, dtype=np.float32)
    defaults: dict[str, Any] = {
        "digest": "0123456789abcdef",
        "categories": CATEGORIES,
        "temperature": 1.0,
        "errors": np.full_like(table, 0.05),
        "counts": np.full_like(table, 20),
        "global_utilities": table.mean(axis=0),
        "encoder": "bag-of-words",
        "encoder_revision": "1",
    }
    return Composition(
        experts=tuple(experts),
        utilities=table,
        policy=policy or Policy(generalist=experts[-1].name),
        classifier_name=name,
        classifier=stage1 or classifier(),
        novelty=Novelty(
            np.eye(3, 4, dtype=np.float32) if prototypes is None else prototypes,
            np.linspace(0, 1, 101, dtype=np.float32),
        ),
        **(defaults | facts),
    )


def about(category: str, novelty: float = 0.0) -> Vector:
    """Features of a request that is plainly about `category`, and `novelty` (0..1) away from it."""
    features = np.zeros(4, dtype=np.float32)
    features[CATEGORIES.index(category)] = 1 - novelty
    features[3] = np.sqrt(1 - (1 - novelty) ** 2)
    return features


UNCLEAR: Vector = np.asarray([0.58, 0.58, 0.57, 0], dtype=np.float32)
"""Features of a request that could be about anything."""


def request(features: Vector | None = None, **facts: Any) -> Request:
    return Request(**{"id": "r1", "turns": (Turn("user", "hello"),), "features": features, **facts})


def routed(
    features: Vector | None = None,
    composed: Composition | None = None,
    policy: Policy | None = None,
    **facts: Any,
) -> Decision:
    """The decision about a request with these features and facts."""
    composed = composed or composition()
    return decide(request(features, **facts), composed, policy or composed.policy)


@cache
def _direction(word: str) -> Vector:
    random = np.random.default_rng(zlib.crc32(word.encode()))
    return random.standard_normal(DIMENSION, dtype=np.float32)


class BagOfWords:
    """An encoder without a model: each word has a random direction, a text the mean of its words'."""

    name = "bag-of-words"
    revision = "1"
    dimension = width = DIMENSION

    def __init__(self) -> None:
        self.encoded: list[str] = []
        """Every text it was asked for."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> Matrix:
        return self.states(texts)

    def states(self, texts: Sequence[str]) -> Matrix:
        self.encoded += texts
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                rows[row] += _direction(word)
        unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit
