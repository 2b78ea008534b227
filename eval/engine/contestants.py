"""Contestants: the models that a benchmark evaluates, on a server or replayed from a file of answers.

Parses them from the command line and resolves their identity on their servers. Knows nothing of benchmarks.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from client import ApiError, AsyncClient, CompositionInfo, ExpertInfo, base_of, routes
from eval.errors import EvalError
from eval.service import (
    earlier_identity,
    expert_identity,
    has_own_sampling,
    served_composition,
    served_experts,
)
from experts.asker import Asker

DEFAULT_API = "http://127.0.0.1:8000/v1"

_NAME = re.compile(r"[\w.:/@+-]+")


class ContestantError(EvalError):
    """A contestant is malformed or does not exist; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model on one server. `name` is what reports call it; unique within a run.

    `extra`: further fields of every request's body, such as sampling or Coterie's `routing`. `identity`: what
    its server reports about it (`identify`), part of the key of stored answers, so that they are not reused
    for another composition or model of the same name. `earlier`: the identity before experts had settings.
    """

    name: str
    server: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] | None = None
    replayed: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False, compare=False)
    """Replayed answers by question id, one text per turn; None if the contestant is asked."""

    @property
    def routed(self) -> bool:
        """Whether Coterie routes its requests."""
        return routes(self.model)

    @property
    def composition(self) -> str | None:
        """The digest of the routing composition, once identified."""
        digest = self.identity.get("composition")
        return digest if isinstance(digest, str) else None

    @property
    def active_params_b(self) -> float | None:
        """Active parameters per request, in billions; None for a composition or if unknown."""
        expert = self.identity.get("expert")
        size = expert.get("active_params_b") or expert.get("params_b") if isinstance(expert, dict) else None
        return float(size) if size is not None else None

    def document(self) -> dict[str, Any]:
        """For manifests: everything except the API key."""
        return {
            "name": self.name,
            "server": self.server,
            "model": self.model,
            "extra": dict(self.extra),
            "identity": dict(self.identity),
        }


ContestantAsker = Asker[Contestant]


def expert_contestant(
    expert: ExpertInfo, experts: Sequence[ExpertInfo], server: str, api_key: str | None = None
) -> Contestant:
    """An expert that `server` lists among `experts`."""
    return _with_identity(Contestant(expert.name, server, expert.name, api_key=api_key), experts, None)


def parse_contestants(
    text: str, *, api: str = DEFAULT_API, api_key: str | None = None
) -> tuple[Contestant, ...]:
    """Parse `coterie,qwen-coder,mine=http://host:8000/v1,short=http://host:8000/v1#model`.

    A bare name is a model of `api`, asked with `api_key`. `label=URL` is a model of that name on another
    server, `label=URL#model` one that the server knows by another name; `label=#model` is on `api`.

    Raises:
        ContestantError: no entry, a malformed entry, or a duplicate name.
    """
    found: list[Contestant] = []
    for entry in (each.strip() for each in text.split(",")):
        if not entry:
            continue
        name, _, where = entry.partition("=")
        url, _, model = where.partition("#")
        if not _NAME.fullmatch(name) or (where and not url and not model):
            raise ContestantError(f"{entry!r} is no contestant: write NAME, NAME=URL or NAME=URL#MODEL")
        found.append(
            Contestant(name, normal_base(url or api), model or name, api_key=None if url else api_key)
        )
    if not found:
        raise ContestantError("no contestant is named: write for example coterie,qwen-coder")
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ContestantError(f"{twice[0]!r} is named twice; give one another label: LABEL=#{twice[0]}")
    return tuple(found)


def normal_base(url: str) -> str:
    """The server's base URL as clients use it, `/v1` added to a bare host.

    Raises:
        ContestantError: an invalid URL.
    """
    try:
        return base_of(url)
    except ApiError as error:
        raise ContestantError(str(error)) from error


async def identify(contestants: Iterable[Contestant]) -> tuple[Contestant, ...]:
    """The contestants with the identity that their servers report.

    Raises:
        ContestantError: a server does not answer or does not have the model.
    """
    found = []
    pages: dict[tuple[str, str | None], tuple[tuple[ExpertInfo, ...], CompositionInfo | None]] = {}
    for each in contestants:
        place = (each.server, each.api_key)
        if place not in pages:
            try:
                async with AsyncClient(each.server, key=each.api_key) as api:
                    pages[place] = (await served_experts(api), await served_composition(api))
            except ApiError as error:
                raise ContestantError(f"{each.name}: {error}") from error
        experts, composition = pages[place]
        found.append(_with_identity(each, experts, composition))
    return tuple(found)


def _with_identity(
    contestant: Contestant, experts: Sequence[ExpertInfo], composition: CompositionInfo | None
) -> Contestant:
    identity = _identity(contestant, experts, composition, expert_identity)
    known = {each.name: each for each in experts}
    routed = contestant.routed and composition is not None
    asked = experts if routed else (known[contestant.model],)
    if any(each.settings is None or has_own_sampling(each, known.get(each.base or "")) for each in asked):
        return replace(contestant, identity=identity)
    return replace(
        contestant,
        identity=identity,
        earlier=_identity(contestant, experts, composition, earlier_identity),
    )


def _identity(
    contestant: Contestant,
    experts: Sequence[ExpertInfo],
    composition: CompositionInfo | None,
    of: Callable[[ExpertInfo], dict[str, Any]],
) -> dict[str, Any]:
    if contestant.routed and composition is not None:
        if composition.canary is not None:
            raise ContestantError(
                f"{contestant.server} lets the canary {composition.canary.digest} decide "
                f"{composition.canary.share:.0%} of the conversations, and a run is about one composition: "
                "end it first (`coterie canary stop` or `promote`), or evaluate an expert"
            )
        return {
            "composition": composition.digest,
            "policy": composition.policy,
            "rules": None,  # part of the key of answers stored by earlier versions
            "experts": [of(each) for each in experts],
        }
    known = {each.name: each for each in experts}
    if contestant.model not in known:
        raise ContestantError(
            f"{contestant.server} has no {contestant.model!r}; it has {', '.join(sorted(known))}"
        )
    return {"expert": of(known[contestant.model])}
