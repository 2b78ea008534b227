"""What is fitted is what is served: over a table of recorded answers, the service asks the same experts in
the same order, stops at the same place and gives the same answer as the replay."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routers.composition import load_composition
from routers.decision import FAMILIES
from routers.strategies import Rollout, State, rollout
from routers.strategy_fitting.recorded_answers import read_recorded
from routers.strategy_fitting.strategy_files import fit_strategies, state_of
from routers.strategy_fitting.strategy_fit import StrategyOptions
from tests.integration.app.recorded_world import SIZES, recorded_table, recorded_world
from tests.integration.app.strategy_world import ask, routing_of, text_of
from tests.integration.app.world import Api, WordEncoder

PROMPTS = 500
FITTED_ON = 200
AT_ONCE = 16
NAMES = tuple(SIZES)


async def test_500_prompts_are_served_as_they_are_replayed(tmp_path: Path) -> None:
    table, folder = recorded_table(PROMPTS), tmp_path / "composition"
    files = table.write(tmp_path / "table")
    with recorded_world(tmp_path, table) as world:
        fitting = recorded_table(FITTED_ON, seed=1).write(tmp_path / "fitting")
        fit_strategies(folder, fitting, WordEncoder(), StrategyOptions(budgets=(12.0,)))
        composition = load_composition(folder)
        fitted = composition.strategies
        assert fitted is not None and {each.name for each in fitted.policies} == set(FAMILIES)
        recorded = read_recorded(files)
        known = state_of(composition, recorded, WordEncoder())
        # Nobody knows beforehand which calls will fail.
        state = State.begin(known.posterior, known.expected)
        replayed: Mapping[str, Rollout] = {}
        replayed = {
            name: rollout(found.policy, state, recorded)
            for name in FAMILIES
            if (found := fitted.find(name)) is not None
        }
        room = asyncio.Semaphore(AT_ONCE)

        async def served(api: Api, row: int) -> tuple[str, int, dict[str, Any], str]:
            name = FAMILIES[row % len(FAMILIES)]
            async with room:
                response = await ask(api, name, table.prompts[row], stream=row % 4 == 0)
            return name, row, routing_of(response), text_of(response)

        async with world.serve() as api:
            answers = await asyncio.gather(*(served(api, row) for row in range(PROMPTS)))
        for name, row, routing, text in answers:
            replay, values = replayed[name], routing["trace"]["values"]
            order = [NAMES[column] for column in replay.order[row].tolist() if column >= 0]
            answer = NAMES[replay.answer[row]]
            assert (values["fitted"], values["asked"], routing["expert"]) == (True, order, answer), (
                name,
                row,
            )
            assert text == table.replies[answer][row].text
            made = [step["expert"] for step in routing["trace"]["steps"]]
            assert sorted(made) == sorted(order)
