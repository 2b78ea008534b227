"""`coterie ask`."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_settings import open_api, read_settings
from app.cli.shared_options import Pin, Strategy, StrategyOption, Url, strategy_fields
from base.terminal import fail, read_question

if TYPE_CHECKING:
    from app.settings import Settings
    from client import RoutingDecision


def ask(
    text: Annotated[str, typer.Argument(help="What to ask; `-` reads standard input.")],
    url: Url = None,
    model: Pin = "coterie",
    system: Annotated[str | None, typer.Option(help="A system message before the question.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens to answer with.")] = None,
    strategy: Strategy = None,
    option: StrategyOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The answer alone.")] = False,
) -> None:
    """Ask the running API and watch the answer come; then see who gave it, and why.

    The answer goes to standard output, the rest to standard error.

    Examples:

    - `coterie ask "Why is the sky blue?"`

    - `coterie ask -m qwen-coder "Sort a list in Go"` asks one expert

    - `coterie ask -s vote -o size=3 "Is 91 prime? Yes or no."` asks several, and shows each step

    - `git log -3 | coterie ask --system "Sum up these changes." -`
    """
    from client import ApiError

    question = read_question(text)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    body: dict[str, Any] = {"model": model, "messages": messages}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if routed := strategy_fields(strategy, option):
        body["routing"] = routed
    settings = read_settings()
    try:
        decision = ask_and_print(settings, url, body)
    except ApiError as error:
        sys.stdout.write("\n")
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if decision is not None and not quiet:
        from app.cli.views import strategy_lines, summary

        sys.stderr.write(f"\n{summary(decision)}\n")
        for line in strategy_lines(decision):
            sys.stderr.write(f"{line}\n")


def ask_and_print(settings: "Settings", url: str | None, body: Mapping[str, Any]) -> "RoutingDecision | None":
    """Print the answer as it comes; returns its decision. Raises ApiError."""
    from client import Client, Decided, Delta

    decision = None
    with open_api(Client, settings, url) as api, api.stream_chat(**body) as events:
        for event in events:
            if isinstance(event, Decided):
                decision = event.decision
            elif isinstance(event, Delta):
                sys.stdout.write(event.text)
                sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return decision
