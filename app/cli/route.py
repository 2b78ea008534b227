"""`coterie route`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_settings import open_api, read_settings
from app.cli.shared_options import (
    CompositionFolder,
    ExpertsFile,
    Pin,
    Profile,
    Strategy,
    StrategyOption,
    Url,
    strategy_fields,
)
from base.ids import new_id
from base.json_documents import json_text
from base.terminal import console, fail, read_question

if TYPE_CHECKING:
    from app.settings import Settings
    from client import RoutingDecision


def route(
    text: Annotated[str, typer.Argument(help="The request to decide; `-` reads standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="The decision document, for machines.")] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Decide here, without a running API (and without its health).")
    ] = False,
    url: Url = None,
    model: Pin = "coterie",
    exclude: Annotated[list[str] | None, typer.Option(help="An expert that may not answer.")] = None,
    strategy: Strategy = None,
    option: StrategyOption = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
    composition: CompositionFolder = None,
) -> None:
    """Decide which expert would answer, and show why. Nobody is asked and nothing is stored.

    Examples:

    - `coterie route "What is a monad?"`

    - `coterie route --local --profile tiny --json "hi" | jq .expert`
    """
    from client import ApiError, ApiUnreachable, Client

    question = read_question(text)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    routed = strategy_fields(strategy, option)
    if exclude:
        routed["exclude"] = exclude
    if routed:
        body["routing"] = routed
    settings = read_settings(profile=profile, experts=experts, composition=composition)
    if local:
        decision = _decide_here(settings, body)
    else:
        try:
            with open_api(Client, settings, url) as api:
                decision = api.route(**body)
        except ApiUnreachable as error:
            fail(f"{error} Or decide without it: coterie route --local …")
        except ApiError as error:
            fail(error)
    if as_json:
        typer.echo(json_text(decision.document()))
        return

    from app.cli.views import decision_table

    console(stderr=False).print(decision_table(decision))


def _decide_here(settings: "Settings", body: dict[str, Any]) -> "RoutingDecision":
    from app.api.error_handlers import service_error
    from app.errors import ServiceError, StartError
    from app.serving.chat_body import ChatBody, ChatRequest
    from app.serving.decision_document import decision_document
    from app.serving.request_parsing import Names, routing_request
    from app.serving.routing import load_routers
    from app.startup import explained
    from app.strategies.strategy_registry import Catalogue
    from client import RoutingDecision
    from experts.registry import load_registry
    from routers.decide import RoutingError

    try:
        with explained(settings):
            registry = load_registry(settings.experts)
            catalogue = Catalogue(settings.own_strategies)
            router = load_routers(settings, registry, catalogue.names).served
        chat = ChatRequest(ChatBody.model_validate(body), body)
        request = routing_request(chat, Names.of(registry, router), decision_id=new_id("dec_"))
        return RoutingDecision.model_validate(decision_document(router.route(request)))
    except StartError as error:
        fail(error)
    except (ServiceError, RoutingError) as error:
        fail(service_error(error).message)
