"""Whether a document is exactly what an SDK's model of it says: nothing missing, nothing converted, nothing
that the model does not know.

The SDKs read leniently (fields may be missing, unknown ones pass), so that a client works with a server of
another version. What the service sends is held to more: clients in other languages read it too. Knows types,
not which document belongs where.
"""

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

OURS = frozenset(
    {
        ("ChatCompletion", "routing"),
        ("ChatCompletionChunk", "routing"),
        ("Completion", "routing"),
        ("CreateEmbeddingResponse", "routing"),
        ("Message", "routing"),
        ("RawMessageDeltaEvent", "routing"),
        ("Response", "routing"),
        ("CompletionUsage", "calls"),
    }
) | {
    (f"{kind}ErrorObject", name)
    for kind in (
        "API",
        "Authentication",
        "InvalidRequest",
        "NotFound",
        "Overloaded",
        "Permission",
        "RateLimit",
    )
    for name in ("code", "param", "details")
}
"""Fields that our pages document beside the dialect's own, as (model, field)."""


def problems(kind: Any, value: Any, at: str = "$") -> list[str]:
    """What is wrong with `value`, plain JSON, as a `kind` (a model or any type annotation); empty when it is
    right. Each begins with the path of the wrong place."""
    origin = get_origin(kind)
    if origin is Annotated:
        return problems(get_args(kind)[0], value, at)
    if origin in (Union, types.UnionType):
        return _of_union(get_args(kind), value, at)
    if origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in get_args(kind))
        return [] if fits else [f"{at}: {value!r} is none of {get_args(kind)}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{at}: {_name(value)} is no list"]
        (item,) = get_args(kind)
        return [each for index, one in enumerate(value) for each in problems(item, one, f"{at}[{index}]")]
    if origin is dict:
        if not isinstance(value, Mapping):
            return [f"{at}: {_name(value)} is no object"]
        _, item = get_args(kind)
        return [each for name, one in value.items() for each in problems(item, one, f"{at}.{name}")]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _of_model(kind, value, at)
    return _of_scalar(kind, value, at)


def _of_model(model: type[BaseModel], value: Any, at: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{at}: {_name(value)} is no {model.__name__}"]
    found, known = [], set()
    for field, info in model.model_fields.items():
        name = info.alias or field
        known.add(name)
        if name in value:
            found += problems(info.annotation, value[name], f"{at}.{name}")
        elif info.is_required():
            found.append(f"{at}.{name}: missing")
    unknown = (name for name in value if name not in known and (model.__name__, name) not in OURS)
    return [*found, *(f"{at}.{name}: {model.__name__} has no such field" for name in unknown)]


def _of_union(members: tuple[Any, ...], value: Any, at: str) -> list[str]:
    """What is wrong by the member that comes nearest: of a tagged union the one with the value's `type`."""
    if value is not None:
        members = tuple(member for member in members if member is not type(None))
    tried = [problems(member, value, at) for member in members]
    meant = [
        found
        for member, found in zip(members, tried, strict=True)
        if isinstance(value, Mapping) and _tags(member) == [value.get("type")]
    ]
    return min(meant or tried, key=len)


def _tags(member: Any) -> list[Any]:
    """What a model's `type` can be."""
    if get_origin(member) is Annotated:
        return _tags(get_args(member)[0])
    if not (isinstance(member, type) and issubclass(member, BaseModel)) or "type" not in member.model_fields:
        return []
    kind = member.model_fields["type"].annotation
    return list(get_args(kind)) if get_origin(kind) is Literal else []


def _of_scalar(kind: Any, value: Any, at: str) -> list[str]:
    if kind is Any or kind is object:
        return []
    if kind is None or kind is type(None):
        fits = value is None
    elif kind is float:  # JSON does not tell 1 from 1.0
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind is datetime:
        fits = isinstance(value, str)
    elif kind in (str, bool):
        fits = isinstance(value, kind)
    else:
        raise TypeError(f"{at}: cannot validate {kind!r}")
    return [] if fits else [f"{at}: {_name(value)} is no {getattr(kind, '__name__', kind)}"]


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__
