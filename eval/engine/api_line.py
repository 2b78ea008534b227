"""Sends requests to contestants over the HTTP API of Coterie or of any OpenAI-compatible server.

An answer of another expert or composition than the one requested is an error.
"""

from collections.abc import Mapping
from typing import Any

from base.reply import AskError, Reply
from client import ApiBadReply, ApiError, ApiRefused, ApiTimeout, AsyncClient, ClientTimeouts
from eval.engine.contestants import Contestant
from experts.adaptations import AdaptedRequest, LearnedAdaptations
from experts.asker import Messages


class ApiLine:
    """One HTTP client per server, with at most `connections` connections each."""

    first_attempts = 6
    """A quarter of a minute: a run may be started right after its server."""

    def __init__(self, *, connections: int = 1024, timeouts: ClientTimeouts | None = None) -> None:
        self._connections = connections
        self._timeouts = timeouts
        self._clients: dict[tuple[str, str | None], AsyncClient] = {}
        self._learned = LearnedAdaptations()

    async def send(self, contestant: Contestant, messages: Messages, body: Mapping[str, Any]) -> Reply:
        """Asks again without a field that the server refuses, such as `max_tokens`. Raises AskError."""
        place = (contestant.server, contestant.api_key)
        if place not in self._clients:
            self._clients[place] = AsyncClient(
                contestant.server,
                key=contestant.api_key,
                timeouts=self._timeouts,
                connections=self._connections,
            )
        api = self._clients[place]
        asking = AdaptedRequest(self._learned, (contestant.server, contestant.model, "chat"), contestant.name)
        while True:
            sent = asking.adaptations.applied({"messages": list(messages), **body})
            try:
                found = await api.chat(model=contestant.model, **sent)
                break
            except ApiRefused as error:
                if not asking.learns(error.status or 400, error.message, error.param, sent):
                    raise _failure(error, api) from error
            except ApiError as error:
                raise _failure(error, api) from error
        asking.succeeded()
        if found.expert not in {None, contestant.model} and not contestant.routed:
            # The answer of a fallback expert must not be scored as the requested expert's.
            message = f"{found.expert} answered in its place"
            raise AskError("other_expert", message, unavailable=True, transient=False)
        decided_by, wanted = found.decision and found.decision.composition, contestant.composition
        if wanted and decided_by and decided_by != wanted:
            message = f"composition {decided_by} answered; this run is about {wanted}"
            raise AskError("composition_changed", message, unavailable=True, transient=False)
        routing = found.document["routing"] if found.decision else None
        seconds = round(found.latency_s, 4)
        return Reply(found.text, found.finish_reason, found.usage, seconds, routing, found.logprobs)

    async def aclose(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()


def _failure(error: ApiError, api: AsyncClient) -> AskError:
    match error:
        case ApiRefused():
            # The server's message is left out because it may quote the prompt.
            return AskError(
                error.code[:60],
                f"status {error.status}",
                unavailable=error.transient,
                retry_after=error.retry_after,
            )
        case ApiBadReply():
            return AskError("bad_reply", error.message)
        case ApiTimeout(code="api_timeout"):
            return AskError("timeout", f"no answer within {api.timeouts.answer_s:g} s", unavailable=True)
        case _:
            return AskError("connection", type(error.__cause__ or error).__name__, unavailable=True)
