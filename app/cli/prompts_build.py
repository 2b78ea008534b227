"""`coterie prompts build`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import Profile
from app.cli.terminal import fail, read_settings

if TYPE_CHECKING:
    from app.settings import Settings
    from experts.expert import Expert
    from prompts.mixture.asking import PrefixCache
    from prompts.mixture.config import BuildConfig
    from prompts.mixture.demos import Demo
    from prompts.mixture.mixture import Mixture
    from routers.encoder import Encoder

MOST_IN_FLIGHT = 64
"""Calls in flight unless told otherwise, however many the expert takes."""
METRICS_S = 5.0
"""How long to wait for the server's metrics, which only the bill wants."""
SHOWN_CHARS = 60
"""Of an instruction, in the table."""

_API_KEY = "COTERIE_API_KEY"


def build(
    demos: Annotated[Path, typer.Argument(help="The examples: JSONL with `input` and `output` a line.")],
    expert: Annotated[str, typer.Option(help="The expert to prompt: an LLM of the registry.")],
    out: Annotated[Path, typer.Option(help="The folder to write the mixture to.")],
    name: Annotated[
        str | None, typer.Option(help="What to call the mixture.", show_default="the folder's name")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="How answers are scored: exact, verbatim, contains, choice or numeric.", show_default="exact"
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Show demos as turns or in a block of text.", show_default="turns")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes a build repeatable.", show_default="0")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Calls never to exceed.", show_default="1500")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, help="Calls in flight, at most what the expert takes.", show_default="as many, up to 64"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Hyperparameters (YAML); prompts/mixture/config.py has them all."),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option("--registry", "--experts", help="The registry of experts, instead of the profile's."),
    ] = None,
    profile: Profile = None,
    api: Annotated[
        str | None,
        typer.Option(help="Ask the expert through this API (OpenAI's protocol) instead of its own server."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="The file that keeps answers.", show_default="var/prompts/answers.sqlite"),
    ] = None,
) -> None:
    """Build a mixture of prompts from examples: an expert made of one LLM.

    The examples are divided into regions. Each region gets the instruction, which the model itself writes,
    and the examples that measure best there; where nothing beats the plain prompt, that is kept. Answers
    are kept as they come: stopped at any moment, the same command goes on. Needs the `fit` extra.

    Examples:

    - `coterie prompts build demos.jsonl --expert smollm2 --out var/mixtures/dates`

    - `coterie prompts build demos.jsonl --expert qwen-coder --metric numeric --out var/mixtures/sums`

    Then let an expert of the registry name it: `{name: dates, base: smollm2, mixture: …/dates}`.
    """
    from experts.errors import ExpertError
    from prompts.mixture.artefact import check_name, check_target, save_mixture
    from prompts.mixture.demos import DemoError, read_demos
    from prompts.mixture.mixture import MixtureError
    from routers.encoder import EncoderMissing, load_encoder

    settings = read_settings(profile=profile, experts=registry)
    known = settings.data / "prompts" / "answers.sqlite" if cache is None else cache
    given = {
        "metric": metric,
        "layout": layout,
        "seed": seed,
        "max_calls": max_calls,
        "concurrency": concurrency,
    }
    try:
        target = _named(name or out.resolve().name, expert)
        check_name(target)
        check_target(out)
        asked = _expert(settings, expert, api)
        options = _config(config, {key: value for key, value in given.items() if value is not None}, asked)
        examples = read_demos(demos)
        encoder = load_encoder(settings.encoder, precision=settings.encoder_precision)
        mixture = asyncio.run(_build(examples, options, asked, encoder, target, known))
        save_mixture(mixture, out)
    except (DemoError, MixtureError, EncoderMissing, ExpertError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"stopped; answers so far are in {known}: the same command goes on from there", 130)
    _show(mixture, out)


def _named(name: str, expert: str) -> str:
    if name == expert:
        fail(f"the mixture would have the name of its expert, {name!r}: give another --name")
    return name


def _expert(settings: "Settings", name: str, api: str | None) -> "Expert":
    """The expert to ask; through `api`, one that is reached there under the same name."""
    import os

    from pydantic import ValidationError

    from experts.expert import Expert
    from experts.registry import RegistryError, UnknownExpert, load_registry

    if api is not None:
        base = api.rstrip("/")
        try:
            return Expert(
                name=name,
                endpoint=base if base.endswith("/v1") else f"{base}/v1",
                model=name,
                params_b=1.0,  # nobody asks
                context_length=2**31,  # the server says when it is exceeded
                api_key_env=_API_KEY if os.environ.get(_API_KEY) else None,
            )
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            fail(f"--api or --expert: {problem['msg']}")
    try:
        found = load_registry(settings.experts).get(name)
    except (RegistryError, UnknownExpert) as error:
        fail(str(error))
    if found.base is not None:
        fail(f"{name} is itself made of prompts: name the LLM under it, --expert {found.base}")
    return found


def _config(path: Path | None, given: Mapping[str, Any], expert: "Expert") -> "BuildConfig":
    """The file's hyperparameters with the command's over them, and what the expert takes under both."""
    import yaml
    from pydantic import ValidationError

    from prompts.mixture.config import BuildConfig

    said: Any = {}
    if path is not None:
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            fail(f"{path}: cannot be read: {error}")
        if not isinstance(said, dict):
            fail(f"{path}: must be a mapping of hyperparameters")
    expected: dict[str, Any] = {"concurrency": min(expert.max_in_flight, MOST_IN_FLIGHT)}
    if expert.context_length < 2**31:
        expected["context_tokens"] = expert.context_length
    try:
        wanted = BuildConfig.model_validate({**expected, **said, **given})
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, each['loc'])) or 'config'}: {each['msg']}"
            for each in error.errors(include_url=False)
        )
        fail(f"the configuration is wrong: {'; '.join(problems)}")
    # More would only wait in our own queue.
    return wanted.model_copy(update={"concurrency": min(wanted.concurrency, expert.max_in_flight)})


def identity(expert: "Expert") -> str:
    """All that an expert's answers depend on, as far as the registry knows."""
    facts = {
        "name": expert.name,
        "provider": expert.provider,
        "model": expert.model,
        # Two servers may call different models by one name.
        "endpoint": expert.endpoint,
        "sampling": dict(expert.sampling),
        "system_prompt": expert.system_prompt,
    }
    return json.dumps(facts, sort_keys=True, default=str)


async def _build(
    demos: tuple["Demo", ...],
    config: "BuildConfig",
    expert: "Expert",
    encoder: "Encoder",
    name: str,
    cache: Path,
) -> "Mixture":
    from experts.asking import ExpertAsk
    from experts.client import ExpertClient
    from prompts.mixture.build import build as build_mixture
    from prompts.mixture.calls import AnswerCache, CachedAsk

    with AnswerCache(cache) as answers:
        async with ExpertClient() as client, _progress() as told:
            return await build_mixture(
                demos,
                config,
                CachedAsk(ExpertAsk(client, expert), answers, identity(expert)),
                encoder.encode,
                progress=told,
                name=name,
                base=expert.name,
                encoder=encoder.name,
                encoder_revision=encoder.revision,
                prefix_cache=_prefix_cache_reader(expert),
            )


@contextlib.asynccontextmanager
async def _progress() -> AsyncIterator[Callable[[str, int, int], None]]:
    """One bar a step, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[str, Any] = {}
        before: dict[str, int] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=0)
                before[stage] = 0
            if done == 0:
                # A step may have several rounds: its bar grows.
                before[stage] = int(progress.tasks[bars[stage]].total or 0)
            progress.update(bars[stage], completed=before[stage] + done, total=before[stage] + total)

        yield told


def _prefix_cache_reader(expert: "Expert") -> "Callable[[], Awaitable[PrefixCache | None]]":
    """Reads vLLM's counters of the server behind `expert`; None where there are none."""

    async def read() -> "PrefixCache | None":
        import aiohttp

        if expert.endpoint is None:
            return None
        url = f"{expert.endpoint.removesuffix('/v1')}/metrics"
        timeout = aiohttp.ClientTimeout(total=METRICS_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url, allow_redirects=False) as response,
            ):
                text = await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
            return None
        return prefix_cache_of(text, expert.model)

    return read


def prefix_cache_of(metrics: str, model: str) -> "PrefixCache | None":
    """The prefix cache's counters in Prometheus text of vLLM, in tokens, over all of `model`'s engines.
    None when they are not there."""
    from prometheus_client.parser import text_string_to_metric_families

    from prompts.mixture.asking import PrefixCache

    counted = {"vllm:prefix_cache_queries_total": 0.0, "vllm:prefix_cache_hits_total": 0.0}
    found: set[str] = set()
    try:
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                if sample.name in counted and sample.labels.get("model_name", model) == model:
                    counted[sample.name] += sample.value
                    found.add(sample.name)
    except ValueError:
        return None
    if len(found) < len(counted):
        return None
    queries, hits = (int(value) for value in counted.values())
    return PrefixCache(queries, hits)


def _show(mixture: "Mixture", out: Path) -> None:
    """Regions, what they measured, and the bill."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    said = mixture.manifest
    table = Table("region", "demos", "instruction", "estimate", "plain", "tokens", "held out", "plain")
    rows = zip(mixture.regions, said["search"], said["held_out"]["regions"], strict=True)
    for number, (region, searched, held_out) in enumerate(rows):
        table.add_row(
            str(number),
            str(searched["demos"]),
            escape(_short(region.instruction)) or "[dim]none[/]",
            f"{searched['estimate']:.2f}",
            f"{searched['plain_estimate']:.2f}",
            f"+{searched['extra_tokens']:.0f}",
            _accuracy(held_out["mixture"]),
            _accuracy(held_out["plain"]),
        )
    console = Console()
    console.print(table)
    overall, bill = said["held_out"]["all"], said["bill"]
    measured = f"{_accuracy(overall['mixture'])} correct, {_accuracy(overall['plain'])} with the plain prompt"
    lines = [
        f"On {overall['demos']} held-out demos: {measured}" if overall["demos"] else "No demos were held out",
        *said["notes"],
        f"{bill['calls']} calls and {bill['cached']} from the cache, {bill['prompt_tokens']:,} prompt and "
        f"{bill['completion_tokens']:,} answer tokens, {bill['seconds']:.0f} s",
    ]
    if bill["prefix_cache_hit_rate"] is not None:
        lines.append(f"{bill['prefix_cache_hit_rate']:.0%} of prompt tokens came from the prefix cache")
    lines.append(f"{mixture.name} ({mixture.digest}) is in {out}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _accuracy(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "–"
    low, high = measured["interval"]
    return f"{measured['accuracy']:.2f} ({low:.2f}–{high:.2f})"
