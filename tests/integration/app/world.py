"""A small world for the service: three fake experts, a hand-made composition, an encoder of a few words."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn
import yaml
from openai import AsyncOpenAI

from app.factory import create_app
from app.listening import bind, url_of
from app.services import Services
from app.settings import Settings
from app.startup import open_services
from experts.fake import RunningFake, run_fake_expert
from routers.classifiers import LogisticClassifier
from routers.composition import Composition, ExpertCard, save_composition
from routers.encoder import Encoder
from routers.features import features_of
from routers.fingerprints import fingerprints_of, write_fingerprints
from routers.novelty import Novelty
from routers.policy import Policy
from routers.request import Matrix

CATEGORIES = ("coding", "smalltalk")
VOCABULARY = (("python", "function", "code", "bug"), ("hello", "hi", "thanks", "weather"))
"""Words of each category; a text without any is like nothing the world has seen."""
DIMENSION = 4

CODE = "Write a python function that reverses a list."
TALK = "hello there, lovely weather today"
UNCLEAR = "zzz qqq"

EXPERTS: Mapping[str, Mapping[str, Any]] = {
    "coder": {"params_b": 7, "context_length": 4000, "capabilities": ["tools", "json_schema"]},
    "talker": {"params_b": 1, "context_length": 1000},
    "backup": {"params_b": 3, "context_length": 2000},
}
UTILITIES = ((0.8, 0.3, 0.5), (0.4, 0.8, 0.5))
"""By category, experts across: coder codes, talker talks, backup is second at both."""


class WordEncoder:
    """Counts known words: good enough to route by, and nothing to install."""

    name = "words"
    revision = "1"
    dimension = width = DIMENSION

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> Matrix:
        return self.states(texts)

    def states(self, texts: Sequence[str]) -> Matrix:
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            words = text.lower().replace(".", " ").replace(",", " ").split()
            for axis, known in enumerate(VOCABULARY):
                row[axis] = sum(word in known for word in words)
            if not row.any():
                row[DIMENSION - 1] = 1
            row /= np.linalg.norm(row)
        return rows


def small_composition(
    folder: Path,
    encoder: Encoder | None = None,
    experts: Mapping[str, Mapping[str, Any]] = EXPERTS,
    scores: Sequence[Sequence[float]] = UTILITIES,
) -> Path:
    """Write the world's composition for `encoder`, its own by default, to `folder`. A request's category
    is the one whose words it is nearer to."""
    encoder = encoder or WordEncoder()
    axes = features_of(encoder, [" ".join(words) for words in VOCABULARY])
    axes[:, encoder.dimension :] = 0
    utilities = np.asarray(scores, dtype=np.float32)
    cards = [
        ExpertCard(name, float(facts["params_b"]), float(facts["params_b"]))
        for name, facts in experts.items()
    ]
    composition = Composition(
        digest="",
        categories=CATEGORIES,
        experts=tuple(cards),
        classifier_name="logistic",
        classifier=LogisticClassifier(4 * axes, np.zeros((1, len(CATEGORIES)), dtype=np.float32)),
        temperature=1.0,
        novelty=Novelty(axes, np.linspace(0, 1, 101, dtype=np.float32)),
        utilities=utilities,
        errors=np.full_like(utilities, 0.05),
        counts=np.full_like(utilities, 20),
        global_utilities=utilities.mean(axis=0),
        policy=Policy(generalist=list(experts)[-1], threshold=0.6),
        encoder=encoder.name,
        encoder_revision=encoder.revision,
    )
    save_composition(composition, folder)
    write_fingerprints(folder, fingerprints_of(()))
    return folder


def write_registry(
    path: Path,
    endpoints: Mapping[str, str],
    own: Mapping[str, Mapping[str, Any]] | None = None,
    experts: Mapping[str, Mapping[str, Any]] = EXPERTS,
    residency: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """A registry of `experts` at `endpoints`; `fields` are added to each, `own` to some by name."""
    entries = [
        {
            "name": name,
            "endpoint": endpoints[name],
            "model": name,
            "timeouts": {"connect_s": 2, "first_byte_s": 2, "idle_s": 0.5, "total_s": 20},
            **facts,
            **fields,
            **(own or {}).get(name, {}),
        }
        for name, facts in experts.items()
    ]
    section = {} if residency is None else {"residency": dict(residency)}
    path.write_text(yaml.safe_dump({**section, "experts": entries}))
    return path


@dataclass(frozen=True)
class Api:
    """A running service, as its clients and its operator see it."""

    url: str
    http: httpx2.AsyncClient
    services: Services
    fakes: Mapping[str, RunningFake]

    def openai(self, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, **options)

    async def chat(self, text: str = TALK, **fields: Any) -> httpx2.Response:
        body = {"model": "coterie", "messages": [{"role": "user", "content": text}], **fields}
        return await self.http.post("/v1/chat/completions", json=body)

    async def decision(self, decision_id: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/decisions/{decision_id}")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document


@dataclass
class World:
    """Fake experts and a composition in a folder; `serve` starts services over them."""

    folder: Path
    fakes: Mapping[str, RunningFake]
    database_url: str | None = None
    endpoints: dict[str, str] = field(default_factory=dict)
    own: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of single experts, by name."""
    experts: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EXPERTS)

    def settings(self, **changes: Any) -> Settings:
        endpoints = {name: fake.endpoint for name, fake in self.fakes.items()} | self.endpoints
        registry = write_registry(
            self.folder / "experts.yaml",
            endpoints,
            self.own,
            self.experts,
            changes.pop("residency", None),
            **changes.pop("expert_fields", {}),
        )
        return Settings(
            experts=registry,
            composition=self.folder / "composition",
            data=self.folder / "var",
            **{"port": 0, "database_url": self.database_url, **changes},
        )

    @asynccontextmanager
    async def serve(self, *, check_health: bool = True, **changes: Any) -> AsyncIterator[Api]:
        """A service on a free port, in this event loop, over real sockets. `check_health` waits until it
        has looked at every expert; without, it has never looked when the first request comes."""
        settings = self.settings(**changes)
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(closing(bind(settings.host, settings.port)))
            services = await stack.enter_async_context(open_services(settings, encoder=WordEncoder()))
            if check_health:
                await services.health.check()
            else:
                await services.health.stop()
            config = uvicorn.Config(
                create_app(services=services),
                log_config=None,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=2,
            )
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            url = url_of(settings.host, listener.getsockname()[1])
            try:
                async with httpx2.AsyncClient(base_url=url, timeout=20, verify=False) as http:
                    yield Api(url, http, services, self.fakes)
            finally:
                server.should_exit = True
                await serving


class _Server(uvicorn.Server):
    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110 - uvicorn looks ten times a second
            await asyncio.sleep(0.01)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def running_fakes() -> Iterator[Mapping[str, RunningFake]]:
    """The world's experts, as servers."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(run_fake_expert(name=name)) for name in EXPERTS}


def forget(fakes: Mapping[str, RunningFake]) -> None:
    """Empty the logs of `fakes`, for the next test."""
    for fake in fakes.values():
        log = fake.log
        log.started = log.finished = log.cancelled = log.max_in_flight = log.counted = 0
        log.bodies.clear()
        log.headers.clear()


def small_world(folder: Path, fakes: Mapping[str, RunningFake], database_url: str | None = None) -> World:
    """The world in `folder`."""
    small_composition(folder / "composition")
    return World(folder, fakes, database_url)


def events_of(text: str) -> list[Any]:
    """The JSON of each event of a stream, `[DONE]` as text."""
    data = [line[len("data: ") :] for line in text.splitlines() if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]
