"""`coterie prompts build`."""

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.build_config import UNBOUNDED, read_build_config
from app.cli.build_progress import BuildProgress
from app.cli.command_settings import read_settings
from app.cli.shared_options import Profile
from base.terminal import fail, warn

if TYPE_CHECKING:
    from app.settings import Settings
    from base.reply import AskError
    from experts.expert import Expert
    from prompts.mixture.build import Encode
    from prompts.mixture.call_budget import PrefixCache
    from prompts.mixture.demos import Demo
    from prompts.mixture.hyperparameters import BuildConfig
    from prompts.mixture.mixture import Matrix, Mixture
    from routers.encoder import Encoder

EMBEDDED_AT_ONCE = 32
"""Texts between two looks at whether the build was stopped."""
METRICS_S = 5.0
"""How long to wait for the server's metrics, which only the bill wants."""

SAID_CHARS = 300
"""Of what a server says when it refuses a question."""

_API_KEY = "COTERIE_API_KEY"


def build(
    demos: Annotated[Path, typer.Argument(help="The examples: JSONL with `input` and `output` a line.")],
    expert: Annotated[str, typer.Option(help="The expert to prompt: an LLM of the registry.")],
    out: Annotated[
        Path, typer.Option(help="The folder to write the mixture to; a mixture that is there is replaced.")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call the mixture.", show_default="the folder's name")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="When an answer is right: exact (but for case, quotes and final stops), verbatim, contains "
            "(the output as whole words), choice (the letter) or numeric (the last number).",
            show_default="exact",
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
        typer.Option(
            help="Hyperparameters (YAML), such as `candidates: 10`: prompts/mixture/hyperparameters.py."
        ),
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
        typer.Option(
            help="The file of answers, which all commands share.",
            show_default="var/answers.sqlite",
        ),
    ] = None,
) -> None:
    """Build a mixture of prompts from examples: an expert made of one LLM.

    The examples are divided into regions. Each region gets the instruction, which the model itself writes,
    and the examples that measure best there; where nothing beats the plain prompt, that is kept. Answers
    are kept as they come: stopped at any moment, the same command goes on. Needs the `fit` extra.

    A line of the examples is `{"input": "Which day follows Monday?", "output": "Tuesday"}`. Eight are the
    least, a hundred are good: those take up to 1,500 short calls.

    Examples:

    - `coterie prompts build demos.jsonl --expert smollm2 --out var/mixtures/dates`

    - `coterie prompts build demos.jsonl --expert qwen-coder --metric numeric --out var/mixtures/sums`

    Then let an expert of the registry name it: `{name: dates, base: smollm2, mixture: …/dates}`, with the
    folder as seen from the registry's.
    """
    from app.cli.mixture_views import show_mixture
    from base.reply import AskError
    from experts.answer_store import StoreError, default_store
    from prompts.mixture.demos import DemoError
    from prompts.mixture.mixture import MixtureError
    from routers.encoder import EncoderMissing, load_encoder

    settings = read_settings(profile=profile, experts=registry)
    known = cache or default_store(settings.data)
    given = {
        "metric": metric,
        "layout": layout,
        "seed": seed,
        "max_calls": max_calls,
        "concurrency": concurrency,
    }
    goes_on = f"answers so far are in {known}: the same command goes on from there"
    progress = BuildProgress()
    try:
        asked = _expert(settings, expert, api)
        target = _target(name or out.resolve().name, out, asked, settings)
        options = read_build_config(
            config, {key: value for key, value in given.items() if value is not None}, asked
        )
        examples = _examples(demos, options)
        encoder = load_encoder(settings.encoder, precision=settings.encoder_precision)
        mixture = asyncio.run(_build(examples, options, asked, encoder, target, known, progress))
        _save(mixture, out, goes_on)
    except (DemoError, MixtureError, StoreError, EncoderMissing) as error:
        fail(error)
    except AskError as error:
        fail(f"{_explained(error)}\n{goes_on}")
    except KeyboardInterrupt:
        fail(f"stopped; {goes_on}", 130)
    show_mixture(mixture, out, progress.troubles)


def _save(mixture: "Mixture", out: Path, goes_on: str) -> None:
    from prompts.mixture.artefact import save_mixture
    from prompts.mixture.mixture import MixtureError

    try:
        save_mixture(mixture, out)
    except MixtureError as error:
        fail(f"{error}\n{goes_on}")


def _explained(error: "AskError") -> str:
    """A failure with what the expert's server said of it, which is the reader's own."""
    return f"{error} It says: {error.said[:SAID_CHARS]}" if error.said else str(error)


def _examples(path: Path, config: "BuildConfig") -> "tuple[Demo, ...]":
    """The demos, checked before anything is loaded or asked. Raises DemoError."""
    from prompts.mixture.demos import check_buildable, check_scorable, read_demos
    from prompts.mixture.plan import MIN_DEMOS

    found = read_demos(path)
    check_buildable(found, MIN_DEMOS)
    check_scorable(found, config.metric)
    return found


def _target(name: str, out: Path, expert: "Expert", settings: "Settings") -> str:
    """`name`, which a mixture in the folder `out` may have. Raises MixtureError."""
    from experts.registry import RegistryError, load_registry
    from prompts.mixture.artefact import check_name, check_target
    from prompts.mixture.mixture import MixtureError

    if name == expert.name:
        fail(f"the mixture would have the name of its expert, {name!r}: give another --name")
    try:
        check_name(name)
    except MixtureError as error:
        fail(f"{error}: give another --name")
    check_target(out)
    place = out.resolve().parent
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        # Whether it can be written is best known before anything is paid.
        with tempfile.TemporaryDirectory(dir=place, prefix=".mixture-"):
            pass
    except OSError as error:
        fail(f"--out: {place}: {error.strerror}: nothing can be written there")
    try:
        taken = load_registry(settings.experts, written=False).experts.get(name)
    except RegistryError:
        return name  # asked through an API, with no registry here
    if taken is not None and taken.mixture is None:
        warn(f"the registry has another expert {name!r}: the entry for this mixture will need another name")
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
                context_length=UNBOUNDED,
                api_key_env=_API_KEY if os.environ.get(_API_KEY) else None,
            )
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            fail(f"--api or --expert: {problem['msg']}")
    try:
        found = load_registry(settings.experts, written=False).get(name)
    except (RegistryError, UnknownExpert) as error:
        fail(error)
    if found.base is not None:
        fail(f"{name} is itself made of prompts: name the LLM under it, --expert {found.base}")
    return found


async def _build(
    demos: tuple["Demo", ...],
    config: "BuildConfig",
    expert: "Expert",
    encoder: "Encoder",
    name: str,
    cache: Path,
    progress: BuildProgress,
) -> "Mixture":
    from experts.answer_store import AnswerStore
    from experts.asker import Asker
    from experts.expert_line import AskedExpert, ExpertAsk, ExpertLine
    from prompts.mixture.build import build as build_mixture

    stopped = threading.Event()
    with AnswerStore(cache) as answers, progress:
        asker = Asker(answers, ExpertLine(), concurrency=config.concurrency, on_retry=progress.trouble)
        async with asker.open():
            try:
                return await build_mixture(
                    demos,
                    config,
                    ExpertAsk(asker, AskedExpert.of(expert)),
                    in_parts(encoder.encode, progress.told, stopped),
                    progress=progress.told,
                    name=name,
                    base=expert.name,
                    encoder=encoder.name,
                    encoder_revision=encoder.revision,
                    prefix_cache=_prefix_cache_reader(expert),
                )
            finally:
                stopped.set()


def in_parts(encode: "Encode", told: Callable[[str, int, int], None], stopped: threading.Event) -> "Encode":
    """The same vectors, some texts at a time: with a bar, and ended by `stopped`, since the thread that
    works on them cannot be."""
    import numpy as np

    def encoded(texts: Sequence[str]) -> "Matrix":
        rows = []
        for start in range(0, len(texts), EMBEDDED_AT_ONCE):
            if stopped.is_set():
                raise RuntimeError("the build was stopped")
            told("embedding demos", start, len(texts))
            rows.append(encode(texts[start : start + EMBEDDED_AT_ONCE]))
        told("embedding demos", len(texts), len(texts))
        return np.concatenate(rows)

    return encoded


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

    from prompts.mixture.call_budget import PrefixCache

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
