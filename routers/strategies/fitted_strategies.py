"""The strategies that were fitted for a composition, each with what held-out prompts say of it.

    strategies.json         policies, what they were fitted on, and their evidence
    strategies.safetensors  their arrays

Both are files of the composition's folder; its manifest has their digests.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from base.json_documents import json_text
from routers.request_costs import CostKind
from routers.strategies.policy_documents import Arrays, policy_document, policy_of
from routers.strategies.strategy_policy import Floats, StrategyPolicy

FILE = "strategies.json"
ARRAYS = "strategies.safetensors"
FORMAT = 1

Unit = CostKind
SUFFIXES: Mapping[Unit, str] = {"active": "b", "cost": "usd", "compute": "bt"}


class StrategiesError(Exception):
    """Fitted strategies cannot be read or do not belong to the composition; the message says what to do."""


@dataclass(frozen=True, slots=True)
class CategoryEvidence:
    """Means by category, (categories,), shrunk to the overall means: `score`, `cost` in the unit of the
    budget, `active` parameters (billions), `calls`."""

    score: Floats
    cost: Floats
    active: Floats
    calls: Floats


@dataclass(frozen=True, slots=True)
class PolicyEvidence:
    """What a policy did on `n` prompts when everything fitted came from the other of `folds` folds: means of
    score (0..1, with its standard `error`), cost in the unit of the budget, active parameters (billions) and
    calls."""

    n: int
    folds: int
    score: float
    error: float
    cost: float
    active_params_b: float
    calls: float
    by_category: CategoryEvidence


@dataclass(frozen=True, slots=True)
class FittedPolicy:
    """A policy of the family `name`, fitted for at most `within` on average (None: for no budget)."""

    name: str
    within: float | None
    unit: Unit
    policy: StrategyPolicy
    evidence: PolicyEvidence

    @property
    def id(self) -> str:
        """`stopping@16b` for one within 16 B active parameters; `bt`: B·tokens, `usd`: $ a request."""
        return self.name if self.within is None else f"{self.name}@{self.within:g}{SUFFIXES[self.unit]}"


@dataclass(frozen=True, slots=True)
class FittedStrategies:
    """Policies over `experts` and `categories`, fitted on `prompts` prompts of a table. `likeness`: cosine
    from which two free texts count as the same answer; None: not fitted, free texts are all different."""

    experts: tuple[str, ...]
    categories: tuple[str, ...]
    policies: tuple[FittedPolicy, ...]
    prompts: int
    prompt_digests: tuple[str, ...] = ()
    likeness: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Families, then ids."""
        families = dict.fromkeys(each.name for each in self.policies)
        return tuple(dict.fromkeys([*families, *(each.id for each in self.policies)]))

    def find(self, name: str) -> FittedPolicy | None:
        """The policy with this id; for a family's name the one of the highest score, of equal ones the
        cheaper. None if there is none."""
        for each in self.policies:
            if each.id == name:
                return each
        family = [each for each in self.policies if each.name == name]
        return max(family, key=lambda each: (each.evidence.score, -each.evidence.cost), default=None)

    def check(self, experts: Sequence[str], categories: Sequence[str]) -> None:
        """Raises StrategiesError unless they were fitted on these experts and categories, in this order."""
        for what, fitted, own in (
            ("experts", self.experts, tuple(experts)),
            ("categories", self.categories, tuple(categories)),
        ):
            if fitted != own:
                raise StrategiesError(
                    f"the strategies were fitted on other {what} ({', '.join(fitted)}) than the composition "
                    f"has ({', '.join(own)}): fit them again with `coterie strategies fit`"
                )


def save_strategies(strategies: FittedStrategies, folder: Path) -> None:
    """Write both files to `folder`."""
    from safetensors.numpy import save

    arrays: Arrays = {}
    policies = []
    for each in strategies.policies:
        found = each.evidence
        table = {
            column.name: [round(float(value), 6) for value in getattr(found.by_category, column.name)]
            for column in fields(found.by_category)
        }
        evidence = {column.name: getattr(found, column.name) for column in fields(found)}
        policies.append(
            {
                "id": each.id,
                "name": each.name,
                "within": each.within,
                "unit": each.unit,
                "evidence": {**evidence, "by_category": table},
                "policy": policy_document(each.policy, arrays),
            }
        )
    document = {
        "format": FORMAT,
        "experts": list(strategies.experts),
        "categories": list(strategies.categories),
        "prompts": strategies.prompts,
        "prompt_digests": list(strategies.prompt_digests),
        "likeness": strategies.likeness,
        "policies": policies,
    }
    (folder / ARRAYS).write_bytes(save(arrays or {"none": np.zeros(1)}))
    (folder / FILE).write_text(json_text(document) + "\n", encoding="utf-8")


def load_strategies(folder: Path) -> FittedStrategies:
    """Read both files. Raises StrategiesError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        document = json.loads((folder / FILE).read_bytes())
        if document["format"] != FORMAT:
            raise StrategiesError(
                f"{folder / FILE}: format {document['format']}, this version reads {FORMAT}: fit the "
                "strategies again with `coterie strategies fit`"
            )
        arrays = load_file(folder / ARRAYS)
        return FittedStrategies(
            experts=tuple(document["experts"]),
            categories=tuple(document["categories"]),
            policies=tuple(_fitted(each, arrays) for each in document["policies"]),
            prompts=int(document["prompts"]),
            prompt_digests=tuple(document["prompt_digests"]),
            likeness=document["likeness"],
        )
    except (AttributeError, KeyError, OSError, TypeError, ValueError, SafetensorError) as error:
        raise StrategiesError(
            f"{folder / FILE} does not hold strategies that this version reads ({error!r}): fit them again "
            "with `coterie strategies fit`"
        ) from error


def _fitted(document: Mapping[str, Any], arrays: Arrays) -> FittedPolicy:
    facts = dict(document["evidence"])
    table = {name: np.asarray(values, dtype=np.float64) for name, values in facts.pop("by_category").items()}
    return FittedPolicy(
        name=document["name"],
        within=document["within"],
        unit=document["unit"],
        policy=policy_of(document["policy"], arrays),
        evidence=PolicyEvidence(**facts, by_category=CategoryEvidence(**table)),
    )
