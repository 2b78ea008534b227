"""Policies as JSON documents with their arrays aside, and back.

A dataclass becomes {"type": its name, field: value, ...}, an array {"array": its name}; the name is a digest
of its content, so that what several policies share is kept once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.cascade_model import CascadeModel
from routers.strategies.ask_order import AskOrder
from routers.strategies.cascade_policies import AgreementCascade, ConfidenceCascade
from routers.strategies.mixed_policy import MixedPolicy
from routers.strategies.one_reply import SelfSelect, SinglePolicy
from routers.strategies.panel_policies import PanelPolicy, StoppingPolicy, VotePolicy, VotingPanel
from routers.strategies.strategy_policy import StrategyPolicy
from routers.strategies.vote_model import VoteModel

Arrays = dict[str, npt.NDArray[Any]]
TYPES: Mapping[str, type[Any]] = {
    each.__name__: each
    for each in (
        AgreementCascade,
        AskOrder,
        ConfidenceCascade,
        MixedPolicy,
        PanelPolicy,
        SelfSelect,
        SinglePolicy,
        StoppingPolicy,
        VoteModel,
        VotePolicy,
        VotingPanel,
    )
}


def policy_document(policy: StrategyPolicy, arrays: Arrays) -> dict[str, Any]:
    """The policy; its arrays are added to `arrays`."""
    found: dict[str, Any] = _document(policy, arrays)
    return found


def policy_of(document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> StrategyPolicy:
    """The policy of a document. Raises KeyError, TypeError or ValueError for what is none."""
    found: StrategyPolicy = _value(document, arrays)
    if not hasattr(found, "act"):
        raise ValueError(f"{document.get('type')!r} is no policy")
    return found


def _document(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, np.ndarray):
        name = hashlib.sha256(repr(value.shape).encode() + value.tobytes()).hexdigest()[:16]
        arrays[name] = np.ascontiguousarray(value)
        return {"array": name}
    if isinstance(value, CascadeModel):
        return {"type": "CascadeModel", **value.model_dump(mode="json")}
    if is_dataclass(value):
        inside = {each.name: _document(getattr(value, each.name), arrays) for each in fields(value)}
        return {"type": type(value).__name__, **inside}
    if isinstance(value, Mapping):
        return {"pairs": [[_document(one, arrays) for one in pair] for pair in value.items()]}
    if isinstance(value, tuple):
        return [_document(each, arrays) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _value(document: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    if isinstance(document, list):
        return tuple(_value(each, arrays) for each in document)
    if not isinstance(document, Mapping):
        return document
    if "array" in document:
        return arrays[document["array"]]
    if "pairs" in document:
        return {key: _value(each, arrays) for key, each in document["pairs"]}
    name, inside = document["type"], {key: each for key, each in document.items() if key != "type"}
    if name == "CascadeModel":
        return CascadeModel.model_validate(inside)
    return TYPES[name](**{key: _value(each, arrays) for key, each in inside.items()})
