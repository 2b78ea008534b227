"""`coterie up`."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import CompositionFolder, ExpertsFile, Host, Port, Profile, Workers
from base.terminal import fail

if TYPE_CHECKING:
    from app.settings import Settings
    from experts.local.vllm import Server
    from experts.registry import Registry

COLOURS = {"coterie": "1", "api": "36", "console": "35", "experts": "33"}


def up(
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    console_port: Annotated[
        int | None, typer.Option(help="The port of the console.", show_default="8501")
    ] = None,
    experts: ExpertsFile = None,
    composition: CompositionFolder = None,
    workers: Workers = None,
    local_experts: Annotated[
        bool, typer.Option(help="Start the registry's local vLLM servers, or use those that run already.")
    ] = True,
    console: Annotated[bool, typer.Option(help="Start the console.")] = True,
    speed: Annotated[
        bool, typer.Option(help="Measure the local experts' tokens a second once all are ready.")
    ] = True,
) -> None:
    """Run everything on this machine: the local experts, the API and the console.

    Stays in the foreground with every part's lines prefixed by its name; Ctrl-C stops all of it. The
    first start fetches and converts the models. Logs of the experts are kept in `var/logs`. With API
    keys set (COTERIE_API_KEYS), give the console its own in COTERIE_API_KEY.

    Examples:

    - `coterie up` then open http://127.0.0.1:8501

    - `coterie up --profile tiny --port 9000 --no-console`
    """
    from app.errors import StartError
    from app.operations.expert_speeds import MeasuredServer
    from app.operations.local_stack import UpPlan, require_ports, run_up

    settings = read_settings(
        profile=profile,
        host=host,
        port=port,
        console_port=console_port,
        experts=experts,
        composition=composition,
        workers=workers,
    )
    try:
        require_ports(settings, console=console)
        registry, servers = _prepared_servers(settings, start=local_experts)
    except StartError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    environment = {
        "COTERIE_PROFILE": settings.profile,
        "COTERIE_EXPERTS": str(settings.experts.absolute()),
        "COTERIE_COMPOSITION": str(settings.composition.absolute()),
    }
    measured = [MeasuredServer(registry.get(each.name), each.experts) for each in servers if speed]
    plan = UpPlan(settings, servers, environment, console=console, measured=tuple(measured))
    raise typer.Exit(asyncio.run(run_up(plan, _say)))


def _prepared_servers(settings: "Settings", *, start: bool) -> "tuple[Registry, tuple[Server, ...]]":
    """The registry, and the servers to run: those of local experts that are always loaded. The models of the
    others, which the API starts in turn, are made ready too. Raises StartError."""
    from app.errors import StartError
    from app.startup import explained
    from experts.local.download_progress import model_progress
    from experts.local.errors import LocalError
    from experts.local.vllm import prepare_servers
    from experts.registry import Registry, load_registry
    from experts.residency.live_residency import managed_servers

    with explained(settings):
        registry = load_registry(settings.experts)
    turns = [each for each in managed_servers(registry).values() if each[0].local is not None]
    if not start:
        if turns:
            raise StartError(
                f"{turns[0][0].name} takes turns with others (`residency` in {settings.experts}), so its "
                "server is started as it is needed: leave --no-local-experts out"
            )
        return registry, ()
    taking_turns = {expert.name for experts in turns for expert in experts}
    always = [each for each in registry.experts.values() if each.name not in taking_turns]
    try:
        with model_progress() as report:
            servers = prepare_servers(Registry.of(*always), report=report)
            for experts in turns:
                prepare_servers(Registry.of(*experts), report=report)
            return registry, servers
    except LocalError as error:
        raise StartError(str(error)) from error


def _say(name: str, line: str) -> None:
    """A line of one part, its name in front."""
    label = f"{name:<8}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        label = f"\x1b[{COLOURS.get(name, '0')}m{label}\x1b[0m"
    sys.stdout.write(f"{label} {line}\n")
    sys.stdout.flush()
