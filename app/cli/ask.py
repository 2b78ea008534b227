"""`coterie ask`."""

import asyncio
import sys
from typing import Annotated, Any

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import Pin, Strategy, StrategyOption, Url, strategy_fields
from base.terminal import fail, read_question


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

    - `coterie ask -s panel -o top_p=0.95 "Is 91 prime? Yes or no."` asks several, and shows each step

    - `git log -3 | coterie ask --system "Sum up these changes." -`
    """
    from app.cli.api import ApiRefused, ApiUnreachable

    question = read_question(text)
    messages = [{"role": "system", "content": system}] if system else []
    body: dict[str, Any] = {
        "model": model,
        "messages": [*messages, {"role": "user", "content": question}],
        "stream": True,
    }
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if routed := strategy_fields(strategy, option):
        body["routing"] = routed
    settings = read_settings()
    try:
        routing = asyncio.run(ask_and_print(url or f"http://{settings.host}:{settings.port}", body))
    except (ApiUnreachable, ApiRefused) as error:
        sys.stdout.write("\n")
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not quiet:
        from app.cli.views import strategy_lines, summary

        sys.stderr.write(f"\n{summary(routing)}\n")
        for line in strategy_lines(routing):
            sys.stderr.write(f"{line}\n")


async def ask_and_print(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Print the answer as it comes; returns its decision. Raises ApiUnreachable, ApiRefused."""
    from app.cli.api import ApiClient

    routing: dict[str, Any] = {}
    async with ApiClient(url) as api:
        async for event in api.events("/v1/chat/completions", body):
            routing = event.get("routing") or routing
            for choice in event.get("choices", []):
                sys.stdout.write((choice.get("delta") or {}).get("content") or "")
                sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return routing
