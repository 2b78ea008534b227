"""The registered benchmarks, and the serialisable request of a run (kept in the manifest for `resume`)."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from base.json_documents import DocumentError
from base.strict_model import StrictModel
from base.suggestions import suggestion
from client import ApiError
from eval.engine.answer_files import Replayed, merged, read_answers
from eval.engine.benchmark import Benchmark
from eval.engine.contestants import DEFAULT_API, Contestant, identify, parse_contestants
from eval.engine.exclusions import screened
from eval.engine.manifest import RunError
from eval.errors import EvalError
from eval.judging.judge import Judge, JudgeOptions
from experts.answer_store import StoreError

HELD_OUT = Path(__file__).resolve().parent / "questions" / "held_out"
"""Checkable prompts that no shipped composition was fitted on."""
OWN = "own"
"""The value of `data` for the project's own question sets."""


class RunRequest(StrictModel):
    """Configuration of a run, without API keys; paths as given."""

    benchmark: str
    """A name of `BENCHMARKS`, or a JSONL file of checkable prompts."""
    against: str = ""
    api: str = DEFAULT_API
    data: str | None = None
    """A folder, `own`, or None for the upstream data."""
    answers: Path | None = None
    """Answers to replay instead of asking their contestants."""
    limit: int | None = Field(default=None, ge=1)
    category: tuple[str, ...] = ()
    turns: int = Field(default=2, ge=1, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=131_072)
    mode: Literal["single", "pairwise"] = "single"
    baseline: str | None = None
    judge: str = ""
    judge_prompts: Path | None = None
    judge_max_tokens: int = Field(default=1024, ge=1, le=131_072)
    judge_temperature: float = Field(default=0.0, ge=0, le=2)
    judge_explains: bool = True
    judge_structured: bool = True
    verdicts: Path | None = None
    """Reference verdicts (human, or of a stronger judge) for judge agreement."""
    same: dict[str, str] = Field(default_factory=dict)
    """Contestant → its name in `verdicts`."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    seed: int | None = 0
    cache: Path | None = None
    composition: Path | None = None
    """Folder of the routing composition, for decontamination; None looks it up by digest."""
    allow_seen: bool = False
    allow_network_code: bool = False
    thinking_tokens: int = Field(default=0, ge=0, le=32_768)


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A benchmark with loaded data and identified contestants."""

    benchmark: Benchmark
    contestants: tuple[Contestant, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """Bearer tokens (never stored) for `--api`, and by contestant for other servers."""

    api: str | None = field(default=None, repr=False)
    others: Mapping[str, str] = field(default_factory=dict, repr=False)

    def on(self, contestants: Sequence[Contestant]) -> tuple[Contestant, ...]:
        """`contestants` with their keys."""
        return tuple(replace(each, api_key=self.others.get(each.name, each.api_key)) for each in contestants)


def prepare(request: RunRequest, keys: Keys | None = None) -> PreparedRun:
    """Load the request's data, and identify contestants, judges and baselines on their servers. Blocking.

    Raises one of `PROBLEMS`: an invalid name or file.
    """
    build = BENCHMARKS.get(request.benchmark)
    if build is None:
        if not Path(request.benchmark).exists():
            hint = suggestion(request.benchmark, BENCHMARKS)
            raise RunError(f"there is no benchmark or file {request.benchmark!r}; {hint}")
        build = _checkable
    context = _RequestContext(
        request, keys or Keys(), read_answers(request.answers) if request.answers else None
    )
    prepared = asyncio.run(build(context))
    benchmark = screened(
        prepared.benchmark,
        prepared.contestants,
        folder=request.composition,
        allow_seen=request.allow_seen,
    )
    return replace(prepared, benchmark=benchmark)


@dataclass(frozen=True, slots=True)
class _RequestContext:
    """A request with its keys and replayed answers; resolves names to contestants."""

    request: RunRequest
    keys: Keys
    answers: Replayed | None

    async def contestants(self, replayed: Replayed | None, but: Sequence[str] = ()) -> tuple[Contestant, ...]:
        """The evaluated contestants except `but`; by default all that have replayed answers."""
        if self.request.against:
            found = await self.named(self.request.against, replayed)
        elif self.answers is not None:
            found = tuple(self.answers.contestant(name) for name in self.answers.models)
        else:
            raise RunError("nobody is named to be evaluated: give --against, such as coterie,qwen-coder")
        found = tuple(each for each in found if each.name not in but)
        if not found:
            raise RunError("only the baseline is named to be evaluated; name somebody else with --against")
        return found

    async def named(self, text: str, replayed: Replayed | None = None) -> tuple[Contestant, ...]:
        """Contestants by name: replayed if there are answers, else models of their servers."""
        named = parse_contestants(text, api=self.request.api, api_key=self.keys.api)
        known = set(replayed.models) if replayed else set()
        bare = {entry.strip() for entry in text.split(",")}
        kept = [
            replayed.contestant(each.name)
            if replayed is not None and each.name in known and each.name in bare
            else each
            for each in named
        ]
        live = self.keys.on([each for each in kept if each.replayed is None])
        identified = {each.name: each for each in await identify(live)}
        return tuple(identified.get(each.name, each) for each in kept)

    async def one(self, text: str, replayed: Replayed | None) -> Contestant:
        """The baseline."""
        found = await self.named(text, replayed)
        if len(found) != 1:
            raise RunError("--baseline names one contestant")
        return found[0]

    async def judges(self) -> tuple[Judge, ...]:
        """The judges of the request."""
        from eval.judging.judge_prompts import own_prompts, read_prompts

        request = self.request
        if not request.judge:
            raise RunError("nobody is named to judge: give --judge, an expert's name or NAME=URL#MODEL")
        prompts = read_prompts(request.judge_prompts) if request.judge_prompts else own_prompts()
        options = JudgeOptions(
            max_tokens=request.judge_max_tokens,
            temperature=request.judge_temperature,
            explain=request.judge_explains,
            structured=request.judge_structured,
            seed=request.seed,
        )
        return tuple(Judge(each, prompts, options) for each in await self.named(request.judge))

    def folder(self, own: Path) -> Path | None:
        """The folder of the question set; None for the upstream data."""
        data = self.request.data
        return None if data is None else own if data == OWN else Path(data)


async def _checkable(context: _RequestContext) -> PreparedRun:
    from eval.protocols.checkable import Checkable
    from eval.suite import OWN as SHIPPED
    from eval.suite import load_suite, only

    request = context.request
    path = {"checkable": SHIPPED, "held-out": HELD_OUT}.get(request.benchmark, Path(request.benchmark))
    suite = only(load_suite(path), request.category)
    benchmark = Checkable(
        suite.with_room(request.thinking_tokens),
        name=re.sub(r"[^\w.-]", "-", path.stem) if request.benchmark not in BENCHMARKS else request.benchmark,
        allow_network_code=request.allow_network_code,
        limit=request.limit,
    )
    return PreparedRun(benchmark, await context.contestants(context.answers))


async def _mt_bench(context: _RequestContext) -> PreparedRun:
    from eval.protocols.mt_bench import MtBench
    from eval.protocols.mt_bench_questions import OWN as OURS
    from eval.protocols.mt_bench_questions import MtBenchError, load_questions

    request = context.request
    data = load_questions(
        context.folder(OURS),
        turns=request.turns,
        max_tokens=(request.max_tokens or 1024) + request.thinking_tokens,
    )
    if request.category:
        there = {each.category for each in data.questions}
        if unknown := set(request.category) - there:
            raise MtBenchError(
                f"no category {', '.join(sorted(unknown))}; there are {', '.join(sorted(there))}"
            )
        data = replace(data, questions=tuple(q for q in data.questions if q.category in request.category))
    opponent = None
    if request.mode == "pairwise":
        if not request.baseline:
            raise RunError("comparing in pairs needs --baseline: the contestant to compare with")
        opponent = await context.one(request.baseline, context.answers)
    benchmark = MtBench(
        data, await context.judges(), opponent=opponent, seed=request.seed, limit=request.limit
    )
    but = [opponent.name] if opponent else []
    return PreparedRun(benchmark, await context.contestants(context.answers, but))


async def _mt_bench_exact(context: _RequestContext) -> PreparedRun:
    from eval.protocols.mt_bench_checkable import MtBenchExact
    from eval.protocols.mt_bench_questions import OWN as OURS
    from eval.protocols.mt_bench_questions import load_questions

    request = context.request
    max_tokens = (request.max_tokens or 1024) + request.thinking_tokens
    data = load_questions(context.folder(OURS), turns=1, max_tokens=max_tokens)
    benchmark = MtBenchExact(data, limit=request.limit)
    return PreparedRun(benchmark, await context.contestants(context.answers))


async def _arena_hard(context: _RequestContext) -> PreparedRun:
    from eval.protocols.arena_hard import ArenaHard
    from eval.protocols.arena_hard_questions import OWN as OURS
    from eval.protocols.arena_hard_questions import load_questions

    request = context.request
    data = load_questions(
        context.folder(OURS),
        request.benchmark,
        max_tokens=(request.max_tokens or 4096) + request.thinking_tokens,
    )
    if request.category:
        data = replace(data, questions=tuple(q for q in data.questions if q.category in request.category))
    replayed = merged(context.answers, data.answers) if context.answers or data.answers else None
    wanted = (
        [request.baseline] if request.baseline else sorted({data.baselines[q.id] for q in data.questions})
    )
    baselines = {}
    for text in wanted:
        if not request.baseline and (replayed is None or text not in replayed.models):
            raise RunError(
                f"the answers of the baseline {text} are needed: put model_answer/{text}.jsonl into the "
                "folder of --data, give them with --answers, or compare with somebody else: --baseline NAME"
            )
        found = await context.one(text, replayed)
        baselines[found.name] = found
    benchmark = ArenaHard(
        data,
        await context.judges(),
        baselines,
        name=request.benchmark,
        everywhere=next(iter(baselines)) if request.baseline else None,
        limit=request.limit,
        seed=request.seed,
    )
    return PreparedRun(benchmark, await context.contestants(replayed, list(baselines)))


BENCHMARKS: Mapping[str, Callable[[_RequestContext], Coroutine[Any, Any, PreparedRun]]] = {
    "checkable": _checkable,
    "held-out": _checkable,
    "mt-bench": _mt_bench,
    "mt-bench-exact": _mt_bench_exact,
    "arena-hard": _arena_hard,
    "arena-hard-v2": _arena_hard,
}


def options_of(request: RunRequest) -> dict[str, Any]:
    """The request as JSON for the manifest."""
    return request.model_dump(mode="json", exclude_defaults=True) | {"benchmark": request.benchmark}


PROBLEMS = (EvalError, ApiError, DocumentError, StoreError, OSError)
"""Errors of a request or a run that commands print as messages."""
