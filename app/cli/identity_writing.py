"""Writing expert identities through the running API, category by category, each kept as it comes."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from base.task_groups import together
from base.usage import TokenUsage
from client import AsyncClient
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

Done = Callable[[int, int], None]
"""(finished, all)"""


@dataclass(slots=True)
class WritingBill:
    """What writing took: calls, the tokens that the expert reported, and seconds from first to last."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def add(self, usage: TokenUsage) -> None:
        """Count one call."""
        self.calls += 1
        self.prompt_tokens += usage.prompt or 0
        self.completion_tokens += usage.completion or 0

    def __str__(self) -> str:
        return (
            f"{self.calls} call{'s' * (self.calls != 1)}, {self.prompt_tokens:,} + "
            f"{self.completion_tokens:,} tokens, {self.seconds:.0f} s"
        )


class IdentityWriter:
    """Asks one expert of one API, `concurrency` questions at once. `seed` decides the later tries; `bill`
    is what was asked so far."""

    def __init__(self, api: AsyncClient, expert: str, *, seed: int = 0, concurrency: int = 4) -> None:
        self._api = api
        self._expert = expert
        self._seed = seed
        self._concurrency = concurrency
        self.bill = WritingBill()

    async def of_request(self, text: str) -> str:
        """What one request would stand behind. Raises IdentityError, ApiError."""
        async with self._api:
            return await self._write(text, tries=1)

    async def of_categories(
        self,
        path: Path,
        names: Sequence[str] = (),
        *,
        fresh: bool = False,
        done: Done = lambda finished, total: None,
    ) -> tuple[str, ...]:
        """Write the identities of the categories named, of all without names, into `path`, in the order of
        the categories. Those it holds are not written again; with `fresh` they stay until a new one is
        there. Returns the categories for which the model wrote none.

        Raises:
            IdentityError: the file is another expert's, or is damaged, or nothing was written at all.
            PromptsError: no such category.
        """
        categories = _chosen(names)
        kept = self._kept(path)
        missing = [each for each in categories if fresh or kept.of(each.name) is None]
        examples: dict[str, list[str]] = {each.name: [] for each in missing}
        for seed in load_seeds("fit"):
            if seed.category in examples:
                examples[seed.category].append(seed.prompt)
        without: list[str] = []
        written: dict[str, Identity] = {}
        started = time.perf_counter()
        places = asyncio.Semaphore(self._concurrency)
        before = len(categories) - len(missing)
        done(before, len(categories))

        async def write(category: Category) -> None:
            async with places:
                try:
                    asked = category_request(category, examples[category.name][:EXAMPLES])
                    text = await self._write(asked, TRIES)
                except IdentityError:
                    without.append(category.name)
                else:
                    written[category.name] = Identity(category=category.name, text=text)
                    found = _in_order({each.category: each for each in kept.identities} | written)
                    save_identities(kept.model_copy(update={"identities": found}), path)
            done(before + len(written) + len(without), len(categories))

        async with self._api:
            try:
                await together(write(category) for category in missing)
            finally:
                self.bill.seconds += time.perf_counter() - started
        if not kept.identities and not written:
            raise IdentityError(f"{self._expert} wrote no description of an expert: nothing was written")
        return tuple(sorted(without))

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

    async def _write(self, text: str, tries: int) -> str:
        for number in range(tries):
            reply = await self._api.chat(
                identity_messages(text),
                model=self._expert,
                max_tokens=MAX_TOKENS,
                temperature=TEMPERATURE if number else 0,
                seed=self._seed + number,
            )
            self.bill.add(reply.usage)
            with suppress(IdentityError):
                return read_identity(reply.text)
        raise IdentityError(f"{self._expert} wrote no description of an expert, in the second person")


def _in_order(identities: Mapping[str, Identity]) -> tuple[Identity, ...]:
    """As the categories are listed, so that a file does not depend on who was written first."""
    places = {each.name: place for place, each in enumerate(load_categories())}
    return tuple(sorted(identities.values(), key=lambda each: places.get(each.category, len(places))))


def _chosen(names: Sequence[str]) -> list[Category]:
    categories = load_categories()
    known = [each.name for each in categories]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PromptsError(f"no category {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for each in categories if not names or each.name in names]
