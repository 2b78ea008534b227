"""This process's place among the workers of one service, and how it asks the others.

Knows nothing of how the workers are run (`app/workers/`), nor of what they are asked.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Siblings:
    """The other workers. Here: there are none."""

    async def ask(self, what: str, given: Any = None) -> list[Any]:
        """What each of them answers, as JSON documents; those that do not answer are left out."""
        return []

    async def reload(self) -> dict[str, Any]:
        """Have every worker reload the composition, this one too, or none; returns the document of a
        `Reloaded` (`app.composition_reload`). Raises ReloadRefused."""
        raise NotImplementedError("a process alone reloads by itself")


class ReloadRefused(Exception):
    """A worker cannot use what it would load; the message says why. None has reloaded."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Worker `number` of `count`, from 0. `folder`: where the workers' shared files are, None for a process
    alone."""

    number: int = 0
    count: int = 1
    folder: Path | None = None
    siblings: Siblings = field(default_factory=Siblings)

    def share(self, bound: int) -> int:
        """This worker's part of a bound that holds for the whole service; at least 1."""
        return max(1, bound // self.count + (self.number < bound % self.count))
