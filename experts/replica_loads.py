"""Asks replicas for their load at `/metrics`, in the background."""

import asyncio
from collections.abc import Iterable

from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.replicas.pool import ReplicaPool
from experts.replicas.server_metrics import read_metrics

INTERVAL_S = 1.0
QUIET_S = 60.0
"""Between two questions to a server that says nothing of its load."""
POLLS_PER_S = 50.0
"""Of one process: of more replicas each is asked less often."""


class LoadPoller:
    """Every second, or less often where there are many replicas. Experts with one server are not asked."""

    def __init__(
        self, experts: Iterable[Expert], client: ExpertClient, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._client = client
        found: dict[str, tuple[Expert, ReplicaPool]] = {}
        for expert in experts:
            if (pool := client.admission.pool(expert)) is not None:
                found |= {endpoint: (expert.at(endpoint), pool) for endpoint in expert.endpoints}
        self._replicas = list(found.values())
        self._interval_s = max(interval_s, len(found) / POLLS_PER_S)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._watch(expert, pool), name=f"load of a replica of {expert.name}")
            for expert, pool in self._replicas
        ]

    async def stop(self) -> None:
        """Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def poll(self) -> None:
        """Ask every replica once."""
        await asyncio.gather(*(self._ask(expert, pool) for expert, pool in self._replicas))

    async def _watch(self, expert: Expert, pool: ReplicaPool) -> None:
        while True:
            told = await self._ask(expert, pool)
            await asyncio.sleep(self._interval_s if told else max(self._interval_s, QUIET_S))

    async def _ask(self, expert: Expert, pool: ReplicaPool) -> bool:
        """False where the server answers, and not with its load."""
        try:
            text = await self._client.metrics(expert)
        except ExpertError as error:
            return error.http_status is None
        load = read_metrics(text)
        if load is None:
            return False
        pool.told(pool.number(expert.endpoint or ""), load)
        return True
