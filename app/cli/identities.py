"""Writing expert identities through the running API, category by category, each kept as it comes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.cli.api import ApiClient
from prompts.identities import (
    EXAMPLES,
    MAX_TOKENS,
    Identities,
    Identity,
    IdentityError,
    category_request,
    identity_messages,
    load_identities,
    new_identities,
    read_identity,
    save_identities,
)
from prompts.seeds import Category, PromptsError, load_categories, load_seeds

TRIES = 4
"""For one identity: the first without chance, the others warmer."""
TEMPERATURE = 0.7

Done = Callable[[str, int, int], None]
"""(category at work, finished, all)"""


class IdentityWriter:
    """Asks one expert of one API. `seed` decides the later tries."""

    def __init__(self, url: str, expert: str, seed: int = 0) -> None:
        self._url = url
        self._expert = expert
        self._seed = seed

    async def of_request(self, text: str) -> str:
        """What one request would stand behind. Raises IdentityError, ApiUnreachable, ApiRefused."""
        async with ApiClient(self._url) as api:
            return await self._write(api, text, tries=1)

    async def of_categories(
        self,
        path: Path,
        names: Sequence[str] = (),
        *,
        fresh: bool = False,
        done: Done = lambda category, finished, total: None,
    ) -> tuple[str, ...]:
        """Write the identities of the categories named, of all without names, into `path`; those it holds
        stay unless `fresh`. Returns the categories for which the model wrote none.

        Raises:
            IdentityError: the file is another expert's, or is damaged, or nothing was written at all.
            PromptsError: no such category.
        """
        categories = _chosen(names)
        kept = self._kept(path)
        if fresh:
            wanted = {each.name for each in categories}
            others = [each for each in kept.identities if each.category not in wanted]
            kept = kept.model_copy(update={"identities": tuple(others)})
        seeds = load_seeds("fit")
        without: list[str] = []
        async with ApiClient(self._url) as api:
            for finished, category in enumerate(categories):
                done(category.name, finished, len(categories))
                if kept.of(category.name) is not None:
                    continue
                examples = [seed.prompt for seed in seeds if seed.category == category.name][:EXAMPLES]
                try:
                    text = await self._write(api, category_request(category, examples), TRIES)
                except IdentityError:
                    without.append(category.name)
                    continue
                identity = Identity(category=category.name, text=text)
                kept = kept.model_copy(update={"identities": (*kept.identities, identity)})
                save_identities(kept, path)
        done("identities", len(categories), len(categories))
        if not kept.identities:
            raise IdentityError(f"{self._expert} wrote no description of an expert: nothing was written")
        return tuple(without)

    def _kept(self, path: Path) -> Identities:
        new = new_identities(self._expert)
        if not path.exists():
            return new
        kept = load_identities(path)
        if kept.expert != self._expert:
            raise IdentityError(f"{path}: holds identities of {kept.expert}: choose another file")
        if kept.prompt_hash != new.prompt_hash:
            raise IdentityError(
                f"{path}: was written with {kept.prompt}, now there is {new.prompt}: choose another file"
            )
        return kept

    async def _write(self, api: ApiClient, text: str, tries: int) -> str:
        for number in range(tries):
            body: dict[str, Any] = {
                "model": self._expert,
                "messages": identity_messages(text),
                "max_tokens": MAX_TOKENS,
                "temperature": TEMPERATURE if number else 0,
                "seed": self._seed + number,
            }
            reply = await api.post("/v1/chat/completions", body)
            with suppress(IdentityError):
                return read_identity(str(reply["choices"][0]["message"].get("content") or ""))
        raise IdentityError(f"{self._expert} wrote no description of an expert, in the second person")


def _chosen(names: Sequence[str]) -> list[Category]:
    categories = load_categories()
    known = [each.name for each in categories]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PromptsError(f"no category {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for each in categories if not names or each.name in names]
