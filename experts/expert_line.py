"""Asking an expert of the registry directly, without Coterie's API between.

`ExpertAsk` is what `prompts.mixture` asks for. Builds nothing itself.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from base.reply import AskError, Reply
from base.usage import TokenUsage
from experts.asker import Asker, Messages
from experts.client import ExpertClient
from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert
from prompts.mixture.call_budget import PromptTooLong


@dataclass(frozen=True, slots=True)
class AskedExpert:
    """An expert of the registry as a source of answers. `identity` is all that they depend on beside its
    server and model; `server` may be empty where the expert is the same at whatever address."""

    expert: Expert
    identity: Mapping[str, Any]
    server: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, expert: Expert) -> "AskedExpert":
        """`expert` with what the registry says of it."""
        earlier = {
            "provider": expert.provider,
            "sampling": dict(expert.sampling),
            "system_prompt": expert.system_prompt,
        }
        identity = {**earlier, **{name: expert.settings[name] for name in ("select", "weights")}}
        return cls(expert, identity, expert.endpoint or "", earlier=earlier if expert.samples == 1 else None)

    @property
    def name(self) -> str:
        return self.expert.name

    @property
    def model(self) -> str:
        return self.expert.model


class ExpertLine:
    """Sends requests through the pooled client."""

    first_attempts = 4
    """A few seconds: an expert that a build names is up, or the name is wrong."""

    def __init__(self) -> None:
        self._client: ExpertClient | None = None

    async def send(self, source: AskedExpert, messages: Messages, body: Mapping[str, Any]) -> Reply:
        """Raises AskError."""
        if self._client is None:
            self._client = ExpertClient()
        started = time.monotonic()
        try:
            found = await self._client.complete(source.expert, {"messages": list(messages), **body})
        except ExpertError as error:
            rejected = error if isinstance(error, ExpertRejected) else None
            raise AskError(
                error.code,
                error.message,
                unavailable=isinstance(error, ExpertUnavailable | ExpertBusy | ExpertTimeout),
                transient=isinstance(error, ExpertUnavailable | ExpertBusy | ExpertTimeout | ExpertBadReply),
                retry_after=error.retry_after_s,
                said=str(rejected.error.get("message") or "") if rejected else "",
            ) from error
        answered_by = found.headers.get("x-coterie-expert")
        if answered_by not in {None, source.model}:
            # Where the server is Coterie, a request may fall back to another expert.
            message = f"{answered_by} answered in place of {source.model}."
            raise AskError("other_expert", message, unavailable=True, transient=False)
        choice = found.body["choices"][0]
        content, finish = choice["message"].get("content"), choice.get("finish_reason")
        return Reply(
            content if isinstance(content, str) else "",
            finish if isinstance(finish, str) else None,
            TokenUsage.of(found.body.get("usage")),
            time.monotonic() - started,
            logprobs=choice.get("logprobs"),
        )

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class ExpertAsk:
    """One source through `asker` as the `Ask` of prompt building. `formerly` is how the source was identified
    before all commands shared a store of answers."""

    def __init__(
        self, asker: Asker[AskedExpert], source: AskedExpert, *, formerly: str | None = None
    ) -> None:
        self._asker = asker
        self._source = source
        self._formerly = _former_identity(source.expert) if formerly is None else formerly

    async def __call__(self, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        """Raises PromptTooLong, and AskError when trying again does not help."""
        sampling = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        former = {"model": self._formerly, "messages": [dict(each) for each in messages], **sampling}
        canonical = json.dumps(former, sort_keys=True, separators=(",", ":"))
        also = [hashlib.sha256(canonical.encode()).hexdigest()]
        try:
            return await self._asker.ask(self._source, messages, sampling, also=also)
        except AskError as error:
            if error.code == ContextTooLong.code:
                raise PromptTooLong from error
            raise


def _former_identity(expert: Expert) -> str:
    names = ("name", "provider", "model", "endpoint", "system_prompt")
    facts = {**{name: getattr(expert, name) for name in names}, "sampling": dict(expert.sampling)}
    return json.dumps(facts, sort_keys=True, default=str)
