"""The benchmarks there are, and a run's request as it is written down and gone on with.

A request is plain data: the command line makes one, the manifest keeps it, `resume` reads it back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from eval.engine.benchmark import Benchmark, ReplayedAnswers
from eval.engine.contestants import DEFAULT_API, Contestant, parse_contestants
from eval.engine.manifest import RunError


class RunRequest(BaseModel):
    """What is to be run. Paths are kept as they were given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    """A name of `BENCHMARKS`, or a JSONL file of checkable prompts."""
    against: str = ""
    api: str = DEFAULT_API
    limit: int | None = Field(default=None, ge=1)
    category: tuple[str, ...] = ()
    concurrency: int = Field(default=8, ge=1, le=1024)
    seed: int | None = 0
    cache: Path | None = None
    allow_network_code: bool = False
    thinking_tokens: int = Field(default=0, ge=0, le=32_768)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request made ready: files read, names resolved, nobody asked yet."""

    benchmark: Benchmark
    contestants: tuple[Contestant, ...]
    replayed: ReplayedAnswers | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """Bearer tokens, never written down: for `--api`, and for other servers by their URL."""

    api: str | None = field(default=None, repr=False)


def prepare(request: RunRequest, keys: Keys | None = None) -> Prepared:
    """Read what the request names.

    Raises:
        RunError, ContestantError, SuiteError: a name or a file that cannot be used.
    """
    build = BENCHMARKS.get(request.benchmark)
    if build is None:
        if not Path(request.benchmark).exists():
            raise RunError(
                f"there is no benchmark or file {request.benchmark!r}; benchmarks are {', '.join(BENCHMARKS)}"
            )
        build = _checkable
    return build(request, keys or Keys())


def _checkable(request: RunRequest, keys: Keys) -> Prepared:
    from dataclasses import replace

    from eval.checkable.benchmark import Checkable
    from eval.suite import OWN, SuiteError, load_suite

    path = Path(request.benchmark)
    suite = load_suite(OWN if request.benchmark in BENCHMARKS else path).with_room(request.thinking_tokens)
    unknown = [name for name in request.category if name not in suite.categories]
    if unknown:
        raise SuiteError(f"no category {', '.join(unknown)}; there are {', '.join(suite.categories)}")
    if request.category:
        suite = replace(suite, items=tuple(i for i in suite.items if i.category in request.category))
    benchmark = Checkable(suite, allow_network_code=request.allow_network_code, limit=request.limit)
    return Prepared(benchmark, parse_contestants(request.against, api=request.api, api_key=keys.api))


BENCHMARKS: Mapping[str, Callable[[RunRequest, Keys], Prepared]] = {"checkable": _checkable}


def options_of(request: RunRequest) -> dict[str, Any]:
    """The request as the manifest keeps it."""
    return request.model_dump(mode="json", exclude_defaults=True) | {"benchmark": request.benchmark}
