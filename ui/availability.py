"""What the API has to offer now: experts with their health, and the composition. Read now and then."""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from client import ApiError, AsyncClient, CompositionInfo, ExpertInfo
from ui.background import BackgroundLoop

KEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Offer:
    """`problem` says why there is nothing to offer; both parts are empty then."""

    experts: tuple[ExpertInfo, ...] = ()
    composition: CompositionInfo = field(default_factory=CompositionInfo)
    problem: ApiError | None = None

    @property
    def titles(self) -> Mapping[str, str]:
        """Category name → how people read it."""
        return {card.name: self.composition.title_of(card.name) for card in self.composition.categories}


class OfferCache:
    """Asks the API at most every few seconds, however many pages look. Safe to use from any thread."""

    def __init__(self, loop: BackgroundLoop, api: AsyncClient) -> None:
        self._loop = loop
        self._api = api
        self._lock = threading.Lock()
        self._offer = Offer()
        self._read_at: float | None = None

    def offer(self) -> Offer:
        """The offer as it is now or was a few seconds ago."""
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > KEPT_S:
                self._offer = self._loop.run(self._read())
                self._read_at = time.monotonic()
            return self._offer

    def forget(self) -> None:
        """Ask again at the next look."""
        with self._lock:
            self._read_at = None

    async def _read(self) -> Offer:
        try:
            experts, composition = await asyncio.gather(self._api.experts(), self._api.composition())
        except ApiError as problem:
            return Offer(problem=problem)
        return Offer(experts, composition)
