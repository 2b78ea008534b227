"""The mixtures and identities that the registry's experts name: read, verified, and fit for this service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from experts.registry import Expert, Registry

if TYPE_CHECKING:
    from prompts.identities import Identities
    from prompts.mixture.mixture import Mixture
    from routers.encoder import Encoder

log = structlog.get_logger(__name__)


class PromptFilesError(Exception):
    """A mixture or a file of identities cannot be served; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class PromptFiles:
    """Mixtures and identities by the name of their expert."""

    mixtures: Mapping[str, "Mixture"] = field(default_factory=dict)
    identities: Mapping[str, "Identities"] = field(default_factory=dict)


def load_prompt_files(registry: Registry, encoder: "Encoder") -> PromptFiles:
    """Read what the experts of `registry` name. Raises PromptFilesError: a folder or file is missing or
    damaged, a mixture was built with another encoder, identities were not measured."""
    mixtures: dict[str, Mixture] = {}
    identities: dict[str, Identities] = {}
    for expert in registry.experts.values():
        if expert.mixture is not None:
            mixtures[expert.name] = _mixture(expert, expert.mixture, encoder)
        if expert.identity is not None:
            identities[expert.name] = _identities(expert, expert.identity.file)
    return PromptFiles(mixtures, identities)


def _mixture(expert: Expert, folder: Path, encoder: "Encoder") -> "Mixture":
    from prompts.mixture.artefact import load_mixture
    from prompts.mixture.mixture import MixtureError

    try:
        mixture = load_mixture(folder)
    except MixtureError as error:
        raise PromptFilesError(f"expert {expert.name}: {error}") from error
    built, here = (mixture.encoder, mixture.encoder_revision), (encoder.name, encoder.revision)
    if built != here or mixture.dimension != encoder.dimension:
        raise PromptFilesError(
            f"expert {expert.name}: {folder}: the mixture was built with the encoder {' '.join(built)} "
            f"({mixture.dimension} numbers), this service has {' '.join(here)} ({encoder.dimension}): build "
            "the mixture again with `coterie prompts build`, or serve with that encoder"
        )
    if mixture.base != expert.base:
        # The same model may have another name here; whether it is the same one only people know.
        log.warning("mixture_of_another_base", expert=expert.name, base=expert.base, built_on=mixture.base)
    return mixture


def _identities(expert: Expert, file: Path) -> "Identities":
    from prompts.identities import IdentityError, load_identities

    try:
        identities = load_identities(file)
    except IdentityError as error:
        raise PromptFilesError(f"expert {expert.name}: {error}") from error
    per = expert.identity.per if expert.identity else "category"
    if identities.measurement(per) is None:
        before = any(each.per == per for each in identities.measured)
        why = "were changed since they were measured" if before else "were not measured"
        command = f"coterie eval personas {file}" + (" --per request" if per == "request" else "")
        raise PromptFilesError(
            f"expert {expert.name}: {file}: identities per {per} {why}: run `{command}` "
            "first, which keeps them where they win"
        )
    if identities.expert != expert.base:
        # As with mixtures: the same model may have another name here.
        log.warning(
            "identities_of_another_base",
            expert=expert.name,
            base=expert.base,
            measured_on=identities.expert,
        )
    if not identities.kept(per):
        log.warning("no_identity_kept", expert=expert.name, per=per)
    return identities
