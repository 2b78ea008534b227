"""What keeps the development endpoints of our vLLM servers shut: an ASGI middleware that vLLM loads by name,
from a folder of its own, so that nothing else of ours is on that environment's path."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Guarded:
    """`words` for vLLM's command line."""

    words: tuple[str, ...]

    def environment(self, key: str) -> dict[str, str]:
        """What the server's environment needs for the guard to ask for `key`."""
        return {"PYTHONPATH": str(Path(__file__).parent), "DEVELOPMENT_ENDPOINT_KEY": key}


GUARDED = Guarded(("--middleware", "development_guard.DevelopmentGuard"))
