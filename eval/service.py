"""The experts and the composition of a server, which is Coterie or any OpenAI-compatible one."""

from typing import Any

from client import ApiBadReply, ApiRefused, AsyncClient, CompositionInfo, ExpertInfo


async def served_experts(api: AsyncClient) -> tuple[ExpertInfo, ...]:
    """All experts of the API; for a server that is not Coterie, its models with minimal metadata.

    Raises:
        ApiError: the server does not answer, or lists neither experts nor models.
    """
    try:
        experts = await api.experts()
    except ApiRefused as error:
        if error.status != 404:
            raise
        experts = tuple(ExpertInfo(name=name) for name in await api.models() if name)
    if not experts:
        raise ApiBadReply(f"{api.base} lists no experts.")
    return experts


async def served_composition(api: AsyncClient) -> CompositionInfo | None:
    """The composition that routes; None if the server has none. Raises ApiError."""
    try:
        found = await api.composition()
    except ApiRefused as error:
        if error.status == 404:
            return None
        raise
    if not found.digest:
        raise ApiBadReply(f"{api.base}/composition does not name the composition's digest.")
    return found


def expert_identity(expert: ExpertInfo) -> dict[str, Any]:
    """The part of an expert's description in the key of stored answers: model, prompts and settings, no
    prices."""
    settings = {} if expert.settings is None else {"settings": expert.settings}
    return earlier_identity(expert) | settings


def has_own_sampling(expert: ExpertInfo, base: ExpertInfo | None) -> bool:
    """Whether it is sampled otherwise than `base`, the expert that it is an arm of, or answers from several
    samples: what earlier versions kept of it may be another's answers."""
    sampling = (expert.settings or {}).get("sampling") or {}
    if sampling.get("n", 1) != 1:
        return True
    return base is not None and sampling != ((base.settings or {}).get("sampling") or {})


def earlier_identity(expert: ExpertInfo) -> dict[str, Any]:
    """`expert_identity` as it was before it had settings."""
    facts = {"name", "params_b", "active_params_b", "context_length", "capabilities", "description", "base"}
    prompts = {"prompt": expert.prompt, "mixture": expert.mixture, "described": expert.identity}
    # Omitted if unset, so that keys of answers stored by earlier versions stay valid.
    known = {name: value for name, value in prompts.items() if value is not None}
    return expert.model_dump(mode="json", include=facts) | known
