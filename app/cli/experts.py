"""`coterie experts`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_settings import open_api, read_settings
from app.cli.shared_options import ExpertsFile, Profile, Url
from base.json_documents import json_text
from base.terminal import console, fail, warn

if TYPE_CHECKING:
    from app.operations.add_expert import Joined
    from app.settings import Settings
    from client import ExpertInfo
    from routers.composition import ExpertCard
    from routers.outcome_table import OutcomeTable

WIDE = 120
"""Columns of a terminal that has room for descriptions."""

app = typer.Typer(help="The experts that can answer.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The experts that can answer."""


@app.command("list")
def list_experts(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Read the registry file, ask nobody.")] = False,
    url: Url = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Show every expert, and whether it is up when the API runs.

    Examples:

    - `coterie experts list`

    - `coterie experts list --local --experts experts/gpu.yaml` checks and shows a registry file
    """
    settings = read_settings(profile=profile, experts=experts)
    local = local or experts is not None
    found = _from_registry(settings) if local else _from_api(settings, url)
    if as_json:
        typer.echo(json_text([each.document() for each in found]))
        return

    from app.cli.views import expert_table

    screen = console(stderr=False)
    screen.print(expert_table(found, wide=screen.width >= WIDE))


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The expert's name, as the registry has it.")],
    composition: Annotated[Path, typer.Option(help="The composition to put it into.")],
    scores: Annotated[
        Path | None, typer.Option(help="An outcome table with a column of its name; a few prompts will do.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="What it is good at, in a sentence.", show_default="the registry's")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to.", show_default="the composition's name + NAME"),
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the composition itself.")] = False,
    params_b: Annotated[float | None, typer.Option(min=0.0, help="Billions of parameters.")] = None,
    active_params_b: Annotated[
        float | None, typer.Option(min=0.0, help="Those that run for a token.", show_default="all")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Dollars per million tokens, input and output alike.")
    ] = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Put a new expert into a fitted composition, without fitting it again.

    Its size and price come from the registry, or else from the table or the options. With scored prompts
    its row of utilities is estimated from them, shrunk towards experts of like size; from a description
    alone it is a guess with wide errors. A new folder is written unless you say `--in-place`.

    Examples:

    - `coterie experts add llama --composition var/composition --scores var/outcomes`

    - `coterie experts add poet --composition var/composition --description "Writes verse." --params-b 3`
    """
    from dataclasses import replace

    from app.operations.add_expert import add_expert
    from prompts.seeds import PromptsError
    from routers.composition import CompositionError
    from routers.encoder import EncoderMissing, load_encoder
    from routers.new_expert import AddExpertError
    from routers.outcome_table import OutcomeError, read_outcomes
    from routers.strategies.fitted_strategies import FILE as STRATEGIES

    if in_place and out is not None:
        fail("give --out or --in-place, not both")
    target = composition if in_place else out or composition.with_name(f"{composition.name}+{name}")
    if target == composition and not in_place:
        fail("--out is the composition itself: say --in-place if you mean it")
    settings = read_settings(profile=profile, experts=experts)
    try:
        table = None if scores is None else read_outcomes(scores)
        card = _card(settings, name, table, params_b)
        given: dict[str, Any] = {
            "description": description,
            "params_b": params_b,
            "active_params_b": active_params_b if active_params_b is not None else params_b,
            "price_input": price,
            "price_output": price,
        }
        card = replace(card, **{field: value for field, value in given.items() if value is not None})
        fitted = (composition / STRATEGIES).exists()
        joined = add_expert(composition, target, card, load_encoder(), table)
    except ImportError as error:
        fail(f"outcome tables need {error.name}: pip install 'coterie[fit]'")
    except (OutcomeError, AddExpertError, CompositionError, EncoderMissing, PromptsError) as error:
        fail(error)
    _show_joined(joined, name, target)
    if fitted:
        warn(
            "its strategies were fitted on the other experts and are left out: fit them again with "
            "`coterie strategies fit`"
        )


def _card(
    settings: "Settings", name: str, table: "OutcomeTable | None", params_b: float | None
) -> "ExpertCard":
    """The registry's facts of `name`, else the table's, else the size that was given."""
    from app.serving.routing import expert_card
    from experts.registry import RegistryError, load_registry
    from routers.composition import ExpertCard

    try:
        registry = load_registry(settings.experts)
    except RegistryError as error:
        fail(error)
    if name in registry.names:
        return expert_card(registry.get(name))
    warn(f"{settings.experts} has no expert {name!r}: add it there before you serve the composition")
    for card in table.experts if table is not None else ():
        if card.name == name:
            return card
    if params_b is None:
        fail(f"how large is {name!r}? Add it to the registry or give --params-b")
    return ExpertCard(name, params_b, params_b)


def _show_joined(joined: "Joined", name: str, folder: Path) -> None:
    from app.cli.outcome_views import plain_table

    composition, row = joined.composition, joined.row
    table = plain_table(("category", "left"), ("scores", "right"), ("utility", "right"), ("± s.e.", "right"))
    table.add_column("best")
    for category, count, utility, error in zip(
        composition.categories, row.counts, row.utilities, row.errors, strict=True
    ):
        table.add_row(category, f"{count:.0f}", f"{utility:.3f}", f"{error:.3f}", composition.map[category])
    screen = console(stderr=False)
    screen.print(table)
    peers = sorted(row.peers.items(), key=lambda each: -each[1])[:3]
    screen.print(
        f"\n{name} was compared with {', '.join(f'{peer} ({weight:.0%})' for peer, weight in peers)}\n"
        f"composition {composition.digest} in {folder}",
        soft_wrap=True,
    )


def _from_api(settings: "Settings", url: str | None) -> "Sequence[ExpertInfo]":
    from client import ApiError, ApiTimeout, ApiUnreachable, Client

    try:
        with open_api(Client, settings, url) as api:
            return api.experts()
    except (ApiTimeout, ApiUnreachable) as error:
        warn(f"{error} This is the registry {settings.experts}.")
        return _from_registry(settings)
    except ApiError as error:
        fail(error)


def _from_registry(settings: "Settings") -> "Sequence[ExpertInfo]":
    from app.serving.decision_document import expert_document
    from client import ExpertInfo
    from experts.registry import RegistryError, load_registry

    try:
        registry = load_registry(settings.experts)
    except RegistryError as error:
        fail(error)
    return [ExpertInfo.model_validate(expert_document(each, None)) for each in registry.experts.values()]
