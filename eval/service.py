"""A server as evaluation sees it: its experts and its composition.

The server is Coterie, or any that is OpenAI-compatible. Knows nothing of how they are asked.
"""

from typing import Any

from client import ApiBadReply, ApiRefused, AsyncClient, CompositionInfo, ExpertInfo


async def served_experts(api: AsyncClient) -> tuple[ExpertInfo, ...]:
    """All experts of the API; of a server that is not Coterie, its models, about which it says little.

    Raises:
        ApiError: no answer, or none that lists experts or models.
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
    """The composition that decides; None when the server has none. Raises ApiError."""
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
    """What changes when another model or prompt stands behind an expert's name: the part of it that answers
    are kept under. Prices do not matter."""
    facts = {"name", "params_b", "active_params_b", "context_length", "capabilities", "description", "base"}
    prompts = {"prompt": expert.prompt, "mixture": expert.mixture, "described": expert.identity}
    # Left out where there is none, so that answers kept before there were any are still found.
    known = {name: value for name, value in prompts.items() if value is not None}
    return expert.model_dump(mode="json", include=facts) | known
