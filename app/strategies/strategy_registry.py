"""The strategies by name: those of the project, and those that a user has written.

Names are known at once; modules are imported, and graphs compiled, when somebody asks for one.
"""

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from app.strategies.strategy import Compiled, Strategy, compile_strategy
from routers.decision import FAMILIES, SINGLE
from routers.strategy_choice import family_of

GROUP = "coterie.strategies"
"""Entry points of this group are strategies; the entry point's name is the strategy's."""

OWN: Mapping[str, str] = {
    "chain": "app.strategies.chain:strategy",
    **{family: f"app.strategies.policy_strategy:{family}" for family in FAMILIES},
}


class StrategyError(Exception):
    """A strategy cannot be loaded; the message says which and why."""


class Catalogue:
    """Every strategy of one service."""

    def __init__(self, own: Sequence[str] = ()) -> None:
        """`own`: a user's strategies as `module:attribute`, imported here. Raises StrategyError."""
        self._places = dict(OWN)
        self._loaded: dict[str, Strategy] = {}
        self._compiled: dict[str, Compiled] = {}
        self._turn = asyncio.Lock()
        for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
            self._add(entry.name, entry.value)
        for place in own:
            found = _load(place)
            self._add(found.name, place)
            self._loaded[found.name] = found

    @property
    def names(self) -> tuple[str, ...]:
        return (SINGLE, *self._places)

    def strategy(self, name: str) -> Strategy:
        """The strategy of a name, or of the id of a fitted policy. Raises StrategyError."""
        name = family_of(name)
        if name not in self._loaded:
            found = _load(self._places[name])
            if found.name != name:
                raise StrategyError(f"{self._places[name]} calls itself {found.name!r}, not {name!r}")
            self._loaded[name] = found
        return self._loaded[name]

    def compiled(self, name: str) -> Compiled:
        """The strategy with its graph, compiled on first use. Raises StrategyError."""
        name = family_of(name)
        if name not in self._compiled:
            strategy = self.strategy(name)
            try:
                self._compiled[name] = compile_strategy(strategy)
            except ImportError as error:
                raise StrategyError(
                    f"the strategy {name} needs LangGraph: pip install 'langgraph>=1.2' ({error.name})"
                ) from error
            except Exception as error:
                raise StrategyError(f"the graph of {name} does not compile: {error}") from error
        return self._compiled[name]

    async def ready(self, name: str) -> Compiled:
        """As `compiled`; what takes a second, importing LangGraph above all, does not stop the event loop."""
        name = family_of(name)
        if name not in self._compiled:
            async with self._turn:
                return await asyncio.to_thread(self.compiled, name)
        return self._compiled[name]

    def _add(self, name: str, place: str) -> None:
        if name == SINGLE or name in self._places:
            raise StrategyError(f"{place}: there is a strategy {name!r} already")
        self._places[name] = place


def _load(place: str) -> Strategy:
    module, separator, attribute = place.partition(":")
    if not separator or not module or not attribute:
        raise StrategyError(f"{place!r} is no place of a strategy: write package.module:attribute")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise StrategyError(f"{place}: cannot be imported: {error}") from error
    except AttributeError:
        raise StrategyError(f"{place}: the module has no {attribute!r}") from None
    if isinstance(found, type) and issubclass(found, Strategy):
        found = found()
    if not isinstance(found, Strategy) or not isinstance(getattr(found, "name", None), str):
        raise StrategyError(f"{place}: is no app.strategies.strategy.Strategy with a name")
    return found
