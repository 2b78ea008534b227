"""The model under test: an expert of a registry, asked greedily, its answers kept on disk.

The expert's own sampling defaults are left out: a penalty on repetition punishes exactly the copying from
demos that is measured here. Starts a local vLLM server where none answers.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from base.reply import Reply
from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.registry import Registry, load_registry
from prompts.mixture.call_budget import Ask, Messages, PrefixCache

SERVER_ARGS = ("--block-size", "32", "--max-num-batched-tokens", "16384", "--enable-prompt-tokens-details")
"""Prefix caching keeps whole blocks, and prompts here are shorter than two of the CPU engine's own 128
tokens. Batches are roomy so that no prompt is read in chunks."""


def greedy(expert: Expert) -> Expert:
    """`expert` without sampling defaults."""
    return expert.model_copy(update={"sampling": {}})


def identity(expert: Expert) -> str:
    """All that greedy answers of `expert` depend on."""
    return json.dumps({"model": expert.model, "system_prompt": expert.system_prompt, "greedy": True})


class PrefixCounts:
    """Asks through `ask`, and counts prompt tokens of these requests and those that the server found in its
    prefix cache."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._queries = self._hits = 0
        self._told = True

    async def __call__(self, messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        reply = await self._ask(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        if not reply.kept:
            self._told = self._told and reply.usage.cached is not None
            self._queries += reply.usage.prompt or 0
            self._hits += reply.usage.cached or 0
        return reply

    def read(self) -> PrefixCache | None:
        """The counts so far; None when the server does not tell them."""
        return PrefixCache(self._queries, self._hits) if self._told else None


@contextlib.asynccontextmanager
async def serving(
    registry: Path, name: str, *, endpoint: str | None, threads: int | None, concurrency: int, logs: Path
) -> AsyncIterator[Expert]:
    """The expert `name` of `registry`, taking `concurrency` requests at once until the block ends.

    At `endpoint` when given; else at its own, where a local vLLM server is started unless one answers.

    Raises:
        RegistryError, UnknownExpert, LocalError: the expert is not there or its server does not start.
    """
    expert = greedy(load_registry(registry).get(name))
    expert = expert.model_copy(update={"max_in_flight": max(concurrency, expert.max_in_flight)})
    if endpoint is not None:
        expert = Expert.model_validate(
            expert.model_dump(exclude={"local", "endpoint"}) | {"endpoint": endpoint}
        )
    if expert.local is None or await answers(expert):
        yield expert
        return
    from experts.local.supervisor import Supervisor
    from experts.local.vllm import prepare_servers

    local = expert.local.model_copy(
        update={"threads": threads or expert.local.threads, "args": (*expert.local.args, *SERVER_ARGS)}
    )
    servers = prepare_servers(Registry.of(expert.model_copy(update={"local": local})))
    async with Supervisor(servers, logs=logs):
        yield expert


async def answers(expert: Expert) -> bool:
    """Whether a server at the expert's endpoint serves its model."""
    async with ExpertClient() as client:
        try:
            return expert.model in await client.models(expert)
        except ExpertError:
            return False
