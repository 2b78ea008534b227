"""`coterie residency`."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import ExpertsFile, Profile
from base.json_documents import json_text
from base.terminal import console, fail, warn

if TYPE_CHECKING:
    from app.operations.residency_replay import ResidencyReplay, Traffic
    from app.settings import Settings
    from experts.registry import Registry
    from experts.residency.residency import ResidentServer
    from experts.residency.simulation import Arrival
    from experts.residency_settings import Absence

app = typer.Typer(help="Experts that do not all fit into memory.", no_args_is_help=True)

WAYS = ("level1", "level2", "stopped")
SEGMENTS = [16, 64]


@app.callback()
def group() -> None:
    """Experts that do not all fit into memory."""


@app.command("simulate")
def simulate(
    stream: Annotated[
        Path | None, typer.Option(help='A JSONL file of requests: {"time": seconds, "expert": name} a line.')
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="An outcome table whose prompts --composition routes.")
    ] = None,
    composition: Annotated[Path | None, typer.Option(help="The composition that routes --outcomes.")] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.0, help="GB for loaded experts.", show_default="the registry's")
    ] = None,
    host_memory: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="GB of host memory for weights in sleep level 1.", show_default="the registry's"
        ),
    ] = None,
    gb_per_b: Annotated[
        float, typer.Option(min=0.0, help="GB for each billion parameters, where no memory_gb is known.")
    ] = 2.5,
    policy: Annotated[
        list[str] | None, typer.Option(help="lru, lfu, predictor or belady; repeatable.", show_default="all")
    ] = None,
    leaves: Annotated[
        list[str] | None,
        typer.Option(
            help="How experts leave memory: level1, level2 or stopped; repeatable.", show_default="all"
        ),
    ] = None,
    level1_s: Annotated[float, typer.Option(min=0.0, help="Seconds to wake from level 1.")] = 0.82,
    level2_s: Annotated[float, typer.Option(min=0.0, help="Seconds to wake from level 2.")] = 2.58,
    stopped_s: Annotated[float, typer.Option(min=0.0, help="Seconds to start a stopped server.")] = 30.0,
    sleep_s: Annotated[float, typer.Option(min=0.0, help="Seconds to leave memory.")] = 0.5,
    batch_s: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds that requests wait before an expert in use gives way.",
            show_default="2, stopped: 30",
        ),
    ] = None,
    prefetch: Annotated[float, typer.Option(min=0.0, help="Margin to load in advance; 2 never does.")] = 0.1,
    rate: Annotated[float, typer.Option(min=1e-6, help="Requests a second of --outcomes.")] = 1.0,
    run: Annotated[
        float, typer.Option(min=1.0, help="Requests of one category in a row, on average, of --outcomes.")
    ] = 1.0,
    answer_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds that an answer takes, where it is not known.")
    ] = 5.0,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of --outcomes.", show_default="its prompts")
    ] = None,
    segment: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Requests in a segment, for the segment metrics; repeatable.", show_default="16, 64"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes a stream of --outcomes repeatable.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw it here (PNG, SVG or PDF).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Replay a stream of requests under policies of residency, with times of switches as parameters.

    The stream is that of the service's decisions, of a file, or of an outcome table as a composition routes
    it. The times are the slower ends of what vLLM published for two small models on an A100: measure your
    own. Belady's policy knows the future; the predictor can wait less than it, since it also loads in
    advance.

    SRP, coverage and SCH say what the stream itself allows, whatever the policy (arXiv 2505.16056).

    Examples:

    - `coterie residency simulate --memory 80` for the decisions of the service

    - `coterie residency simulate --outcomes var/outcomes --composition var/composition --memory 80 --run 8`
    """
    from app.operations.residency_replay import ResidencyError, Traffic, replay
    from experts.residency.residency import ResidencyLimits
    from experts.residency.simulation import POLICY_NAMES, SwitchTimes

    _require_known(policy, POLICY_NAMES, "--policy")
    _require_known(leaves, WAYS, "--leaves")
    if (outcomes is None) != (composition is None):
        fail("--outcomes and --composition belong together")
    if stream is not None and outcomes is not None:
        fail("give --stream or --outcomes, not both")
    settings = read_settings(profile=profile, experts=experts)
    traffic = Traffic(rate, run, answer_s, requests, seed)
    try:
        arrivals, servers, server_of, registry = _source(
            settings, stream, outcomes, composition, traffic, gb_per_b
        )
        budget, host = _memory(memory, host_memory, registry)
        limits = ResidencyLimits(budget, host, prefetch=prefetch)
        found = replay(
            arrivals,
            servers,
            limits,
            SwitchTimes(level1_s, level2_s, stopped_s, sleep_s),
            policies=policy or POLICY_NAMES,
            leaves=cast("list[Absence]", leaves or list(WAYS)),
            batch_s=batch_s,
            segments=segment or SEGMENTS,
            server_of=server_of,
        )
    except ResidencyError as error:
        fail(error)
    if found.left_out:
        warn(f"{found.left_out} requests were for experts that take no turns, and are left out")
    if picture is not None:
        try:
            from app.operations.residency_picture import draw_residency

            draw_residency(picture, found, f"{found.requests:,} requests in {found.memory_gb:g} GB")
        except ImportError as error:
            fail(f"pictures need {error.name}: pip install 'coterie[fit]'")
    if as_json:
        typer.echo(json_text(found.document()))
        return
    _show(found)


def _source(
    settings: "Settings",
    stream: Path | None,
    outcomes: Path | None,
    composition: Path | None,
    traffic: "Traffic",
    gb_per_b: float,
) -> "tuple[list[Arrival], list[ResidentServer], dict[str, str] | None, Registry | None]":
    """The requests, the servers, the server of each expert, and the registry that tells of them."""
    from app.operations.residency_replay import read_stream, routed, servers_of, sized_servers, stored_stream
    from base.databases import DatabaseError
    from experts.registry import RegistryError, load_registry
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing
    from routers.outcome_table import OutcomeError

    try:
        if outcomes is not None and composition is not None:
            arrivals, sizes = routed(composition, outcomes, traffic)
            return arrivals, sized_servers(sizes, gb_per_b), None, None
        registry = load_registry(settings.experts)
        server_of, servers = servers_of(registry, gb_per_b)
        if stream is not None:
            return read_stream(stream, traffic.answer_s), servers, server_of, registry
        arrivals = asyncio.run(stored_stream(settings, traffic.answer_s))
    except ImportError as error:
        fail(f"outcome tables need {error.name}: pip install 'coterie[fit]'")
    except (RegistryError, CompositionError, OutcomeError, EncoderMissing, DatabaseError) as error:
        fail(error)
    if not arrivals:
        fail("the service has no decisions yet: give --stream, or --outcomes and --composition")
    return arrivals, servers, server_of, registry


def _require_known(given: list[str] | None, known: Sequence[str], option: str) -> None:
    if unknown := [each for each in given or () if each not in known]:
        fail(f"{option} {unknown[0]!r}: give {', '.join(known)}")


def _memory(
    memory: float | None, host_memory: float | None, registry: "Registry | None"
) -> tuple[float, float]:
    """The GB of memory and of host memory, as the options or else the registry say."""
    section = None if registry is None else registry.residency
    if memory is None:
        if section is None:
            fail("how much memory is there? Give --memory, or `residency: {memory_gb: ...}` in the registry")
        memory = section.memory_gb
    if host_memory is None and section is not None:
        host_memory = section.host_memory_gb
    return memory, math.inf if host_memory is None else host_memory


def _show(found: "ResidencyReplay") -> None:
    from app.cli.outcome_views import plain_table

    table = plain_table(
        ("leaves", "left"),
        ("policy", "left"),
        ("mean wait", "right"),
        ("p99", "right"),
        ("switches", "right"),
        ("hit rate", "right"),
    )
    for each in found.results:
        table.add_row(
            each.leaves,
            each.policy,
            f"{each.mean_wait_s:.2f} s",
            f"{each.wait_s(99):.2f} s",
            f"{each.switches:,}",
            f"{each.hit_rate:.1%}",
        )
    screen = console(stderr=False)
    total = sum(each.memory_gb for each in found.servers)
    screen.print(
        f"{found.requests:,} requests for {len(found.servers)} servers of {total:.4g} GB together, "
        f"in {found.memory_gb:g} GB\n"
    )
    screen.print(table)
    if not found.segments:
        return
    allows = plain_table(
        ("segment", "right"), ("SRP", "right"), ("coverage", "right"), ("SCH", "right"), ("group", "right")
    )
    for segment in found.segments:
        allows.add_row(
            str(segment.length),
            f"{segment.srp:.3f}",
            f"{segment.coverage:.1%}",
            f"{segment.sch:.1%}",
            f"{segment.group:.2f}",
        )
    screen.print()
    screen.print(allows)
