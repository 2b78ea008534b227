"""`coterie residency simulate`: a stream of requests, the servers they are for, and what policies make of
it."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.settings import Settings
from app.storage.database import Database
from app.storage.rows import DecisionRow
from base.text_files import TextFileError, read_text
from experts.admission import endpoint_key
from experts.registry import Registry
from experts.residency.residency import ResidencyLimits, ResidentServer
from experts.residency.segment_metrics import SegmentMetrics, segment_metrics
from experts.residency.simulation import Arrival, Simulated, SwitchTimes, policy_named, simulate
from experts.residency_settings import BATCH_S, Absence

GB_PER_B = 2.5
"""Memory of an expert of whom nobody says it: two bytes a parameter, and a quarter more for caches."""
WEIGHTS_SHARE = 0.8
"""Of it, the weights."""
MOST_DECISIONS = 200_000
"""The newest decisions that are replayed."""


class ResidencyError(Exception):
    """Nothing can be simulated; the message says why."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How prompts of a table become a stream: Poisson arrivals at `rate` requests a second, `run` requests of
    one category in a row on average, each answered in `answer_s`; `requests` None: as many as there are
    prompts."""

    rate: float = 1.0
    run: float = 1.0
    answer_s: float = 5.0
    requests: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ResidencyReplay:
    """`left_out`: requests for experts that take no turns. `segments`: what the stream itself allows."""

    servers: tuple[ResidentServer, ...]
    memory_gb: float
    requests: int
    left_out: int
    results: tuple[Simulated, ...]
    segments: tuple[SegmentMetrics, ...]
    times: SwitchTimes

    def document(self) -> dict[str, Any]:
        return {
            "memory_gb": self.memory_gb,
            "servers": {each.name: each.memory_gb for each in self.servers},
            "requests": self.requests,
            "left_out": self.left_out,
            "times": asdict(self.times),
            "results": [each.document() for each in self.results],
            "segments": [each.document() for each in self.segments],
        }


def read_stream(path: Path, answer_s: float) -> list[Arrival]:
    """The requests of a JSONL file, one `{"time": ..., "expert": ...}` a line: times in seconds or as ISO
    8601, `seconds` the time of the answer where it is known. Raises ResidencyError."""
    try:
        lines = read_text(path).splitlines()
    except TextFileError as error:
        raise ResidencyError(str(error)) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            at = entry["time"]
            seconds = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
            taken = float(entry.get("seconds", answer_s))
            if not (math.isfinite(seconds) and 0 <= taken < math.inf):
                raise ValueError("a time is not finite, or negative")
            found.append(Arrival(seconds, str(entry["expert"]), taken))
        except (ValueError, KeyError, TypeError) as error:
            raise ResidencyError(
                f'{path}:{number}: needs {{"time": seconds or ISO 8601, "expert": name}} ({error})'
            ) from error
    return _from_zero(found)


async def stored_stream(settings: Settings, answer_s: float) -> list[Arrival]:
    """The service's decisions, the MOST_DECISIONS newest. Raises DatabaseError and ResidencyError."""
    database = Database(settings.database)
    if not _is_there(database):
        return []
    try:
        query = (
            select(DecisionRow.created_at, DecisionRow.expert, DecisionRow.latency_ms)
            .order_by(DecisionRow.created_at.desc())
            .limit(MOST_DECISIONS)
        )
        async with database.session() as session:
            rows = (await session.execute(query)).all()
    except (SQLAlchemyError, OSError) as error:
        # The driver's message may hold the password.
        raise ResidencyError(
            f"decisions cannot be read from {database.shown} ({type(error).__name__}): check "
            "COTERIE_DATABASE_URL, and upgrade it with `coterie db upgrade`"
        ) from error
    finally:
        await database.close()
    return _from_zero(
        [
            Arrival(at.timestamp(), expert, answer_s if latency is None else latency / 1000)
            for at, expert, latency in rows
        ]
    )


def table_stream(categories: Sequence[str], experts: Sequence[str], traffic: Traffic) -> list[Arrival]:
    """A stream of prompts with their `categories` and chosen `experts`, in runs of one category."""
    rng = random.Random(traffic.seed)
    of_category: dict[str, list[str]] = {}
    for category, expert in zip(categories, experts, strict=True):
        of_category.setdefault(category, []).append(expert)
    left: dict[str, list[str]] = {}
    arrivals, at, category = [], 0.0, ""
    for number in range(traffic.requests or len(experts)):
        if number == 0 or rng.random() < 1.0 / traffic.run:
            category = rng.choice(categories)
        if not left.get(category):
            left[category] = rng.sample(of_category[category], len(of_category[category]))
        at += rng.expovariate(traffic.rate)
        arrivals.append(Arrival(at, left[category].pop(), traffic.answer_s))
    return arrivals


def routed(composition: Path, table: Path, traffic: Traffic) -> tuple[list[Arrival], dict[str, float]]:
    """A stream of the table's prompts as the composition decides them, and its experts' sizes in billions of
    parameters, arms under the name of their base. Raises CompositionError, OutcomeError, EncoderMissing."""
    from routers.batch import choose
    from routers.composition import load_composition
    from routers.embeddings import vectors_folder
    from routers.encoder import load_encoder
    from routers.estimate import estimate_table
    from routers.features import features_of_prompts
    from routers.outcome_table import read_outcomes

    fitted, outcomes = load_composition(composition), read_outcomes(table)
    encoder = load_encoder(precision="float32" if "float32" in fitted.encoder_revision else "int8")
    features = features_of_prompts(encoder, outcomes.prompts, vectors_folder())
    columns = choose(fitted, fitted.policy, estimate_table(fitted, features))
    servers = [card.base or card.name for card in fitted.experts]
    chosen = [servers[int(column)] for column in columns]
    sizes = {card.base or card.name: card.params_b for card in fitted.experts}
    return table_stream(outcomes.categories, chosen, traffic), sizes


def servers_of(registry: Registry, gb_per_b: float) -> tuple[dict[str, str], list[ResidentServer]]:
    """The server of each expert who takes turns, and the servers. Where no expert has `memory_gb`, all take
    turns, with a memory by their parameters."""
    told = any(expert.memory_gb is not None for expert in registry.experts.values())
    server_of: dict[str, str] = {}
    found: dict[str, ResidentServer] = {}
    for expert in registry.experts.values():
        if (told and expert.memory_gb is None) or expert.provider != "openai":
            continue
        memory = expert.memory_gb or expert.params_b * gb_per_b
        weights = memory if expert.weights_gb is None and told else expert.weights_gb
        key = endpoint_key(expert)
        server = ResidentServer(expert.name, memory, memory * WEIGHTS_SHARE if weights is None else weights)
        found.setdefault(key, server)
        server_of[expert.name] = found[key].name
    return server_of, list(found.values())


def sized_servers(sizes: Mapping[str, float], gb_per_b: float) -> list[ResidentServer]:
    """Servers by their parameters, in billions."""
    return [
        ResidentServer(name, size * gb_per_b, size * gb_per_b * WEIGHTS_SHARE) for name, size in sizes.items()
    ]


def replay(
    stream: Sequence[Arrival],
    servers: Sequence[ResidentServer],
    limits: ResidencyLimits,
    times: SwitchTimes,
    *,
    policies: Sequence[str],
    leaves: Sequence[Absence],
    batch_s: float | None = None,
    segments: Sequence[int] = (),
    server_of: Mapping[str, str] | None = None,
) -> ResidencyReplay:
    """Replay `stream` under each policy and each way of leaving memory; `server_of` maps experts to servers.
    Segments longer than the stream are left out. Raises ResidencyError."""
    of = {each.name: each.name for each in servers} if server_of is None else server_of
    asked = [replace(each, server=of[each.server]) for each in stream if each.server in of]
    if not asked:
        raise ResidencyError("there is no request for an expert that takes turns")
    # Who is never asked for has no part in it, and may be larger than the memory.
    named = {each.server for each in asked}
    servers = [each for each in servers if each.name in named]
    names = [each.name for each in servers]
    results = []
    try:
        for absence in leaves:
            window = BATCH_S[absence] if batch_s is None else batch_s
            for name in policies:
                bound = replace(limits, leaves=absence, batch_s=window)
                results.append(simulate(asked, servers, bound, times, policy_named(name, names, asked)))
    except ValueError as error:
        raise ResidencyError(f"{error}: give more --memory") from error
    sizes = {each.name: each.memory_gb for each in servers}
    lengths = [length for length in segments if length <= len(asked)]
    order = [each.server for each in asked]
    return ResidencyReplay(
        tuple(servers),
        limits.memory_gb,
        len(asked),
        len(stream) - len(asked),
        tuple(results),
        tuple(segment_metrics(order, sizes, limits.memory_gb, length) for length in lengths),
        times,
    )


def _is_there(database: Database) -> bool:
    """Whether there is a file, where it is SQLite's: to look would make one."""
    file = database.url.database
    return database.url.get_backend_name() != "sqlite" or (file is not None and Path(file).exists())


def _from_zero(stream: Sequence[Arrival]) -> list[Arrival]:
    """By rising time, the first at 0."""
    ordered = sorted(stream, key=lambda each: each.at_s)
    return [replace(each, at_s=each.at_s - ordered[0].at_s) for each in ordered]
