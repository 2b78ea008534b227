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
    """The part of an expert's description in the key of stored answers: model and prompts, no prices."""
    facts = {"name", "params_b", "active_params_b", "context_length", "capabilities", "description", "base"}
    prompts = {"prompt": expert.prompt, "mixture": expert.mixture, "described": expert.identity}
    # Omitted if unset, so that keys of answers stored by earlier versions stay valid.
    known = {name: value for name, value in prompts.items() if value is not None}
    return expert.model_dump(mode="json", include=facts) | known
