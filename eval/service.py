"""A server as evaluation sees it: its experts, its composition, and one expert's answer to one request.

The server is Coterie, or any that is OpenAI-compatible. Knows nothing of checks or files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from base.reply import AskError
from client import (
    ApiBadReply,
    ApiError,
    ApiRefused,
    ApiTimeout,
    AsyncClient,
    ChatReply,
    CompositionInfo,
    ExpertInfo,
    routes,
)


async def complete(
    api: AsyncClient, expert: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]
) -> ChatReply:
    """Ask `expert` by name, trying again as `api` does. `coterie` and `coterie/<category>` may be answered by
    any expert; `sampling` is put into the body as it is.

    Raises:
        AskError: refused, still failing after the last attempt, or answered by another expert.
    """
    try:
        reply = await api.chat(messages, model=expert, **sampling)
    except ApiError as error:
        raise _failure(error, api) from error
    if reply.expert not in {None, expert} and not routes(expert):
        # A request that fell back to another expert says nothing about the one that was asked.
        raise AskError("other_expert", f"{reply.expert} answered in its place", unavailable=True)
    return reply


def _failure(error: ApiError, api: AsyncClient) -> AskError:
    match error:
        case ApiRefused():
            # The server's own message stays out: some repeat the prompt in it.
            return AskError(error.code[:60], f"status {error.status}", unavailable=error.transient)
        case ApiBadReply():
            return AskError("bad_reply", error.message)
        case ApiTimeout(code="api_timeout"):
            return AskError("timeout", f"no answer within {api.timeouts.answer_s:g} s", unavailable=True)
        case _:
            return AskError("connection", type(error.__cause__ or error).__name__, unavailable=True)


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
