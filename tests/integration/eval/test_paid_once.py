"""A prompt that any command has paid for is not paid for again: commands, their store, and a service."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path

import typer
import yaml
from typer.testing import CliRunner

from eval.cli.evaluate import app as evaluate
from eval.cli.score import score
from eval.suite import load_suite, only
from prompts.identities import Identity, new_identities, save_identities
from routers.composition import load_composition, save_composition
from tests.integration.app.prompt_world import Experts
from tests.integration.app.strategy_world import serving
from tests.integration.app.world import Api, running_fakes, small_world

CATEGORY = "math"
PROMPTS = len(only(load_suite(), [CATEGORY]).items)
EXPERTS = ("coder", "talker", "backup")

cli = typer.Typer()
cli.command("score")(score)
cli.add_typer(evaluate, name="eval")


@dataclass
class Desk:
    """The commands, and how many requests reach the experts for each."""

    api: Api
    folder: Path

    async def paid(self, *words: object) -> int:
        before = sum(fake.log.started for fake in self.api.fakes.values())
        given = [str(word) for word in words]
        done = await asyncio.to_thread(CliRunner().invoke, cli, given)
        assert done.exit_code == 0, done.output
        return sum(fake.log.started for fake in self.api.fakes.values()) - before

    def score(self, *more: object) -> Coroutine[None, None, int]:
        place = ("--out", self.folder / "table", *(word for name in EXPERTS for word in ("--expert", name)))
        return self.paid("score", "--api", self.api.url, "--category", CATEGORY, *place, *more)

    def run(self, against: str, *more: object) -> Coroutine[None, None, int]:
        place = ("--api", self.api.url, "--runs", self.folder / "runs", "--category", CATEGORY)
        return self.paid("eval", "run", "checkable", "--against", against, "--allow-seen", *place, *more)

    def sweep(self) -> Coroutine[None, None, int]:
        file = self.folder / "sweep.yaml"
        benchmark = {"name": "checkable", "category": [CATEGORY]}
        document = {
            "kind": "live",
            "name": "s",
            "api": self.api.url,
            "allow_seen": True,
            "benchmark": benchmark,
        }
        file.write_text(yaml.safe_dump({**document, "baselines": True}))
        database = self.folder / "sweeps.db"
        return self.paid(
            "eval", "sweep", file, "--out", self.folder / "sweep", "--database", database, "--fresh"
        )

    def personas(self) -> Coroutine[None, None, int]:
        file = self.folder / "talker.yaml"
        save_identities(new_identities("talker", [Identity(category=CATEGORY, text="You count.")]), file)
        return self.paid("eval", "personas", file, "--api", self.api.url, "--category", CATEGORY)


async def test_what_one_command_asked_no_other_asks_again(tmp_path: Path) -> None:
    async with serving(tmp_path / "world") as api:
        desk = Desk(api, tmp_path)
        everybody = ",".join(EXPERTS)
        assert await desk.score() == 3 * PROMPTS
        assert await desk.run(everybody) == 0
        assert await desk.score() == 0
        # The sweep's baselines are the experts; what it asks is the service as a whole.
        assert await desk.sweep() == PROMPTS
        assert await desk.run(f"coterie,{everybody}") == 0
        # Without an identity everything is there, with one nothing is.
        assert await desk.personas() == PROMPTS


async def test_the_other_way_round_too_and_other_sampling_or_another_composition_is_asked_anew(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "world") as api:
        desk = Desk(api, tmp_path)
        assert await desk.run("coterie,coder,talker,backup", "--seed", 7) == 4 * PROMPTS
        assert await desk.sweep() == 0
        assert await desk.score() == 0
        assert await desk.score("--thinking-tokens", 10) == 3 * PROMPTS
        assert await desk.run("coder", "--thinking-tokens", 10) == 0
        folder = tmp_path / "world" / "composition"
        fitted = load_composition(folder)
        save_composition(replace(fitted, policy=replace(fitted.policy, generalist="talker")), folder)
        assert (await api.http.post("/v1/composition/reload")).json()["changed"] is True
        assert await desk.run("coterie,coder") == PROMPTS
        assert await desk.score("--fresh") == 3 * PROMPTS
        assert await desk.score() == 0


async def test_an_arm_with_other_sampling_is_scored_anew_beside_the_answers_of_its_table(
    tmp_path: Path,
) -> None:
    with running_fakes() as fakes:
        world = small_world(tmp_path / "world", fakes)

        async def paid(**sampling: object) -> int:
            experts = Experts.of(world)
            experts.add("arm", sampling=sampling)
            async with experts.serve() as api:
                words = ("score", "--api", api.url, "--category", CATEGORY, "--out", tmp_path / "table")
                return await Desk(api, tmp_path).paid(*words, "--expert", "coder", "--expert", "arm")

        assert await paid(temperature=0.5) == 2 * PROMPTS
        assert await paid(temperature=0.5) == 0
        assert await paid(temperature=0.6) == PROMPTS
        assert await paid(temperature=0.6, n=2) == PROMPTS
        assert await paid(temperature=0.5) == 0
