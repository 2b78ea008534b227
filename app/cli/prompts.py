"""`coterie prompts`: the library, and expert identities."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_settings import open_api, read_settings
from app.cli.prompts_build import build
from app.cli.shared_options import ExpertsFile, Pin, Profile, Url
from base.json_documents import json_text
from base.progress import ProgressBars
from base.terminal import console, fail, read_question, warn

if TYPE_CHECKING:
    from app.cli.identity_writing import IdentityWriter
    from prompts.templates import PromptLibrary, PromptTemplate

app = typer.Typer(
    help="Prompts: the library, expert identities.", no_args_is_help=True, rich_markup_mode="markdown"
)

Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version, the newest.")]
Folder = Annotated[
    Path | None, typer.Option("--library", help="A folder of prompts.", show_default="the shipped library")
]
Variables = Annotated[
    list[str] | None, typer.Option("--var", help="NAME=VALUE of a variable; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.callback()
def group() -> None:
    """Prompts: the library, expert identities."""


app.command("build")(build)


@app.command("list")
def list_prompts(as_json: AsJson = False, library: Folder = None) -> None:
    """Show every prompt with its newest version, category, variables and hash.

    Examples:

    - `coterie prompts list`

    - `coterie prompts list --library my-prompts` checks a folder of your own
    """
    from prompts.templates import PromptError

    opened = _library(library)
    try:
        prompts, problems = opened.read()
    except PromptError as error:
        fail(error)
    if as_json:
        typer.echo(json_text([_document(each) for each in prompts]))
    elif prompts:
        _print_table(prompts)
    elif not problems:
        warn(f"{opened.folder}: holds no prompt; a prompt's file is called <name>@<version>.yaml")
    for problem in problems:
        warn(problem)
    if problems:
        raise typer.Exit(1)


def _print_table(prompts: "Sequence[PromptTemplate]") -> None:
    """The newest version of each."""

    from app.cli.outcome_views import plain_table

    table = plain_table(("prompt", "left"), ("hash", "left"), ("category", "left"), ("variables", "left"))
    table.add_column("description")
    for each in {each.name: each for each in prompts}.values():
        variables = ", ".join(each.variables)
        table.add_row(each.reference, each.hash, each.category or "", variables, each.description)
    console(stderr=False).print(table)


@app.command("show")
def show(
    prompt: Reference,
    var: Variables = None,
    render: Annotated[
        bool, typer.Option("--render", help="The rendered text alone; with --json beside the rest.")
    ] = False,
    as_json: AsJson = False,
    library: Folder = None,
) -> None:
    """Show one prompt: its facts, its variables and its template.

    Examples:

    - `coterie prompts show writing`

    - `coterie prompts show writing@1 --render --var tone=warm`
    """
    found = _prompt(prompt, library)
    if var and not render:
        fail("--var is for --render")
    text = _rendered(found, var) if render else None
    if as_json:
        document = _document(found) | {"template": found.template}
        document |= {} if text is None else {"rendered": text}
        typer.echo(json_text(document))
        return
    if text is not None:
        typer.echo(text)
        return
    typer.echo(f"{found.reference}  {found.hash}  {found.category or 'of no category'}\n{found.description}")
    for name, variable in found.variables.items():
        kind = " | ".join(variable.choices) or variable.type
        default = "required"
        if variable.default is not None:
            default = f"default {json.dumps(variable.default, ensure_ascii=False)}"
        typer.echo(f"  {{{name}}}  {kind}, {default}  {variable.description}".rstrip())
    typer.echo(f"\n{found.template.rstrip()}")


@app.command("diff")
def diff(
    old: Reference,
    new: Annotated[
        str | None,
        typer.Argument(metavar="NAME[@VERSION]", help="Without it, OLD against the version before it."),
    ] = None,
    library: Folder = None,
) -> None:
    """Compare two versions of a prompt, or two prompts, as a unified diff.

    Examples:

    - `coterie prompts diff writing@1 writing@2`

    - `coterie prompts diff writing` compares the newest version with the one before it
    """
    import difflib

    first, second = _pair(old, new, library)
    before, after = (_source(each, library).splitlines() for each in (first, second))
    lines = list(
        difflib.unified_diff(
            before,
            after,
            fromfile=f"{first.reference}  {first.hash}",
            tofile=f"{second.reference}  {second.hash}",
            lineterm="",
        )
    )
    if not lines:
        warn(f"{first.reference} and {second.reference} are the same")
    for line in lines:
        typer.echo(line)


@app.command("try")
def try_prompt(
    prompt: Reference,
    text: Annotated[str, typer.Argument(help="What to ask under the prompt; `-` reads standard input.")],
    var: Variables = None,
    url: Url = None,
    model: Pin = "coterie",
    direct: Annotated[
        str | None,
        typer.Option("--direct", help="Ask this expert's own server, without a running API."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens to answer with.")] = None,
    library: Folder = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
) -> None:
    """Render a prompt, ask under it and watch the answer come.

    It goes out as a system message. The answer goes to standard output, the rest to standard error.

    Examples:

    - `coterie prompts try writing "A note to the neighbours about the party" --var tone=warm`

    - `coterie prompts try coding@1 "Sort a list in Go" -m qwen-coder`

    - `coterie prompts try math "7 * 8?" --direct smollm2` asks the expert of the registry itself
    """
    from client import ApiError
    from experts.errors import ExpertError

    if direct is not None and model != "coterie":
        fail("--direct names the expert already: leave -m out")
    found = _prompt(prompt, library)
    messages = [
        {"role": "system", "content": _rendered(found, var)},
        {"role": "user", "content": read_question(text)},
    ]
    body: dict[str, Any] = {"model": model, "messages": messages}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    settings = read_settings(profile=profile, experts=experts)
    try:
        if direct is not None:
            asyncio.run(_ask_directly(direct, settings.experts, {**body, "stream": True}))
            answered = direct
        else:
            from app.cli.ask import ask_and_print
            from app.cli.views import summary

            decision = ask_and_print(settings, url, body)
            answered = model if decision is None else summary(decision)
    except (ApiError, ExpertError) as error:
        sys.stdout.write("\n")
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    sys.stderr.write(f"\n— {found.reference} ({found.hash}) · {answered.removeprefix('— ')}\n")


def _library(folder: Path | None) -> "PromptLibrary":
    from prompts.templates import LIBRARY, PromptLibrary

    return PromptLibrary(folder or LIBRARY)


def _prompt(reference: str, folder: Path | None) -> "PromptTemplate":
    from prompts.templates import PromptError

    try:
        return _library(folder).newest(reference)
    except PromptError as error:
        fail(error)


def _pair(old: str, new: str | None, folder: Path | None) -> tuple["PromptTemplate", "PromptTemplate"]:
    first = _prompt(old, folder)
    if new is not None:
        return first, _prompt(new, folder)
    earlier = [each for each in _library(folder).references()[first.name] if each < first.version]
    if not earlier:
        fail(f"{first.reference} has no version before it: name two prompts")
    return _prompt(f"{first.name}@{earlier[-1]}", folder), first


def _source(prompt: "PromptTemplate", folder: Path | None) -> str:
    return (_library(folder).folder / f"{prompt.reference}.yaml").read_text(encoding="utf-8")


def _rendered(prompt: "PromptTemplate", given: list[str] | None) -> str:
    """The text with the values of a command line. Ends the command when one is wrong."""
    from prompts.templates import PromptError

    values: dict[str, Any] = {}
    for each in given or []:
        name, separator, value = each.partition("=")
        if not separator:
            fail(f"--var {each!r}: write NAME=VALUE")
        if name in values:
            fail(f"--var {name}: is given twice")
        variable = prompt.variables.get(name)
        values[name] = variable.parsed(value) if variable else value
    try:
        return prompt.render(values)
    except PromptError as error:
        fail(f"{error} (--var NAME=VALUE)")


def _document(prompt: "PromptTemplate") -> dict[str, Any]:
    document = prompt.model_dump(mode="json", exclude={"template"})
    return {**document, "hash": prompt.hash}


async def _ask_directly(name: str, registry_file: Path, body: Mapping[str, Any]) -> None:
    """Print the answer of one expert of a registry as it comes. Raises ExpertError."""
    from app.strategies.chunks import chunks_of, first_choice
    from base.reply_text import text_of_message
    from experts.client import ExpertClient
    from experts.registry import RegistryError, UnknownExpert, load_registry

    try:
        expert = load_registry(registry_file).get(name)
    except (RegistryError, UnknownExpert) as error:
        fail(error)
    if expert.mixture is not None or expert.identity is not None:
        fail(f"{name} puts a prompt of its own in front, which the API does: leave --direct out")
    async with ExpertClient() as client, client.stream(expert, body) as stream:
        async for chunk in chunks_of(stream):
            sys.stdout.write(text_of_message(first_choice(chunk).get("delta")))
            sys.stdout.flush()
    sys.stdout.write("\n")


@app.command("identity")
def identity(
    expert: Annotated[str, typer.Argument(help="The expert whose model writes them, such as smollm2.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; what it holds already is kept.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; may be repeated.", show_default="all")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Write the identity for this one request and print it.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Write those anew that the file holds.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Makes other tries.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests in flight.")] = 4,
    url: Url = None,
) -> None:
    """Let a model describe the ideal expert of each category, for requests to stand behind.

    Asks the running API. Measure the file before it is served: `coterie eval personas FILE` keeps the
    identities of the categories in which they win. Stopped at any moment, the same command goes on.

    Examples:

    - `coterie prompts identity smollm2 --out var/identities/smollm2.yaml`

    - `coterie prompts identity smollm2 --text "Is 391 prime?"` shows what a request would stand behind
    """
    from app.cli.identity_writing import IdentityWriter
    from client import ApiError, AsyncClient
    from prompts.identities import IdentityError
    from prompts.seeds import PromptsError

    if (out is None) == (text is None):
        fail("give --out FILE for the categories, or --text REQUEST for one request")
    try:
        api = open_api(AsyncClient, read_settings(), url)
        writer = IdentityWriter(api, expert, seed=seed, concurrency=concurrency)
        if text is not None:
            typer.echo(asyncio.run(writer.of_request(text)))
        elif out is not None:
            _write_identities(writer, out, category or [], fresh)
    except (ApiError, IdentityError, PromptsError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        warn("stopped; what was written so far is kept, the same command goes on")
        raise typer.Exit(130) from None


def _write_identities(writer: "IdentityWriter", out: Path, categories: list[str], fresh: bool) -> None:
    from prompts.identities import load_identities

    with ProgressBars() as progress:
        bar = progress.add("identities")

        def done(finished: int, total: int) -> None:
            progress.tell(bar, finished, total)

        without = asyncio.run(writer.of_categories(out, categories, fresh=fresh, done=done))
    kept = {each.category for each in load_identities(out).identities}
    for name in without:
        left = "the old one stays" if name in kept else "its requests go out plain"
        warn(f"{name}: the model wrote no description of an expert; {left}")
    if writer.bill.calls:
        warn(f"asked now: {writer.bill}")
    typer.echo(f"{out}: measure it with `coterie eval personas {out}`")
