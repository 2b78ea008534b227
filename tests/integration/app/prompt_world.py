"""The service's small world with prompt experts over `coder`: mixtures of prompts, and identities."""

from dataclasses import replace
from typing import Any

import yaml

from app.settings import Settings
from app.startup import open_services
from prompts.identities import (
    Identities,
    Identity,
    IdentityEffect,
    Measurement,
    Per,
    new_identities,
    save_identities,
)
from prompts.mixture.artefact import save_mixture
from prompts.mixture.demos import Demo
from prompts.mixture.layout import FewShotPrompt
from prompts.mixture.mixture import Mixture, Region
from routers.composition import load_composition, save_composition
from tests.integration.app.world import WordEncoder, World

CODE_DEMOS = (Demo("add a bug", "fixed"), Demo("write code", "done"))


def mixture(**changes: Any) -> Mixture:
    """Two regions, of code and of talk, by the encoder of the world."""
    code, talk = WordEncoder().encode(["python code hello", "hello weather"])
    facts: dict[str, Any] = {
        "name": "helper",
        "base": "coder",
        "encoder": "words",
        "encoder_revision": "1",
        "regions": (
            Region(code, 0.8, "Write short code.", CODE_DEMOS),
            Region(talk, 0.8, "", (Demo("hello", "Hi."),)),
        ),
        "fallback": FewShotPrompt("Be brief."),
    }
    return Mixture(**{**facts, **changes})


class Experts(World):
    """The world with prompt experts over `coder`."""

    entries: list[dict[str, Any]]

    @classmethod
    def of(cls, world: World) -> "Experts":
        experts = cls(world.folder, world.fakes)
        experts.entries = []
        return experts

    def settings(self, **changes: Any) -> Settings:
        settings = super().settings(**changes)
        registry = yaml.safe_load(settings.experts.read_text())
        registry["experts"] += self.entries
        settings.experts.write_text(yaml.safe_dump(registry))
        return settings

    async def start(self) -> None:
        """Open and close the service."""
        async with open_services(self.settings(), encoder=WordEncoder()):
            pass

    def compose(self, name: str, place: str = "coder") -> None:
        """Let `name` take another expert's place in the composition."""
        composition = load_composition(self.folder / "composition")
        cards = [replace(card, name=name) if card.name == place else card for card in composition.experts]
        save_composition(replace(composition, experts=tuple(cards)), self.folder / "composition")

    def add(self, name: str, **fields: Any) -> None:
        self.entries.append({"name": name, "base": "coder", **fields})

    def mixture(self, made: Mixture | None = None, name: str = "helper", **fields: Any) -> str:
        digest = save_mixture(made or mixture(), self.folder / "mixtures" / name)
        self.add(name, mixture=f"mixtures/{name}", **fields)
        return digest

    def identities(self, per: Per, *categories: str) -> Identities:
        """An expert `expert` with identities kept in `categories`."""
        known = new_identities(
            "coder",
            [
                Identity(category="coding", text="You are a compiler."),
                Identity(category="smalltalk", text="You are a pal."),
            ],
        )
        if categories:
            measurement = Measurement(
                per=per,
                of=known.subject(per),
                suite="s",
                confidence=0.95,
                results=tuple(
                    IdentityEffect(
                        category=each,
                        prompts=9,
                        without=0.1,
                        with_identity=0.9,
                        difference=0.8,
                        low=0.5,
                        high=1,
                        kept=True,
                    )
                    for each in categories
                ),
            )
            known = known.with_measurement(measurement)
        save_identities(known, self.folder / "identities.yaml")
        self.add("expert", identity={"file": "identities.yaml", "per": per})
        return known
