"""The YAML file of a sweep: a grid over compositions, budgets, thresholds, strategies and prompts.

`kind: replay` evaluates on an outcome table, `kind: live` on a running API. Paths are relative to the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, field_validator
from pydantic import model_validator as whole
from pydantic_core import PydanticCustomError

from base.strict_model import StrictModel
from base.yaml_lines import Lines, YamlProblem, read_yaml
from eval.errors import EvalError

LARGEST_GRID = 10_000
"""Maximum number of configurations."""


class SweepError(EvalError):
    """A sweep cannot be read or run; the message says where and what to do."""


Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w][\w.:+-]*$")]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], Field(min_length=1)]


class FitConfig(StrictModel):
    """Options of `coterie fit` for compositions fitted by cross-validation."""

    classifier: Literal["auto", "knn", "logistic", "centroid"] = "auto"
    correction: bool | None = None
    seeds: bool | None = None
    """Fit stage 1 on the seed prompts too; None: if they cover all categories of the table."""
    sure_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    novel_quantile: Annotated[float, Field(gt=0, le=1)] = 0.99


class ReplayComposition(StrictModel):
    """A composition in a folder, or one that is fitted by cross-validation."""

    name: Name
    folder: Path | None = None
    fit: FitConfig | None = None

    @whole(mode="after")
    def _check_source(self) -> Self:
        if (self.folder is None) == (self.fit is None):
            raise PydanticCustomError("composition", "give either a folder or fit")
        return self


class ReplayGrid(StrictModel):
    """All combinations are evaluated; None, and a missing axis, leave the composition's value."""

    compositions: Annotated[tuple[ReplayComposition, ...], Field(min_length=1)]
    experts: Annotated[tuple[Literal["all"] | Names, ...], Field(min_length=1)] = ("all",)
    """Sets of experts (also prompt experts) that may answer."""
    active_weight: Annotated[tuple[Weight | None, ...], Field(min_length=1)] = (None,)
    cost_weight: Annotated[tuple[Weight | None, ...], Field(min_length=1)] = (None,)
    compute_weight: Annotated[tuple[Weight | None, ...], Field(min_length=1)] = (None,)
    target_active_b: Annotated[tuple[Positive | None, ...], Field(min_length=1)] = (None,)
    resident_budget_b: Annotated[tuple[Positive | None, ...], Field(min_length=1)] = (None,)
    threshold: Annotated[tuple[Share | None, ...], Field(min_length=1)] = (None,)
    ood_threshold: Annotated[tuple[Share | None, ...], Field(min_length=1)] = (None,)
    strategy: Annotated[tuple[Literal["single"], ...], Field(min_length=1)] = ("single",)


class _Sweep(StrictModel):
    name: Name
    seed: int = 0
    allow_seen: bool = False
    """Include prompts that a composition was fitted on; the report says so."""


class ReplaySweep(_Sweep):
    """Evaluated on an outcome table."""

    kind: Literal["replay"]
    table: Path
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Folds in parallel."""
    grid: ReplayGrid


class LiveComposition(StrictModel):
    """A composition served at `api` (default: the sweep's). `folder`: its folder, for decontamination; by
    default the shipped composition with the served digest."""

    name: Name
    api: Text | None = None
    folder: Path | None = None


class StrategyConfig(StrictModel):
    """A strategy with options; `label`: its name in the report."""

    name: Name
    options: dict[str, Any] | None = None
    label: Name | None = None


class PromptConfig(StrictModel):
    """A system prompt for every question, as text or from a file."""

    name: Name
    system: Text | None = None
    file: Path | None = None

    @whole(mode="after")
    def _check_source(self) -> Self:
        if self.system is not None and self.file is not None:
            raise PydanticCustomError("prompt", "give system or file, not both")
        return self


class LiveGrid(StrictModel):
    """All combinations are asked; a weight replaces the served policy's, null keeps it."""

    compositions: Annotated[tuple[LiveComposition, ...], Field(min_length=1)] = (
        LiveComposition(name="served"),
    )
    experts: Annotated[tuple[Literal["all"] | Names, ...], Field(min_length=1)] = ("all",)
    active_weight: Annotated[tuple[Weight | None, ...], Field(min_length=1)] = (None,)
    strategy: Annotated[tuple[StrategyConfig | None, ...], Field(min_length=1)] = (None,)
    prompts: Annotated[tuple[PromptConfig, ...], Field(min_length=1)] = (PromptConfig(name="none"),)

    @field_validator("strategy", mode="before")
    @classmethod
    def _accept_names(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"name": each} if isinstance(each, str) else each for each in value]


class BenchmarkConfig(StrictModel):
    """A benchmark of `coterie eval run`, or a JSONL file of checkable prompts."""

    name: Text = "checkable"
    data: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    category: tuple[Text, ...] = ()
    judge: str = ""
    baseline: str | None = None
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    allow_network_code: bool = False


class LiveSweep(_Sweep):
    """Asked of a running API."""

    kind: Literal["live"]
    api: Text = "http://127.0.0.1:8000/v1"
    benchmark: BenchmarkConfig = BenchmarkConfig()
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 4
    """Requests in flight in total."""
    baselines: bool = True
    """Ask every expert every question too, for the baselines."""
    grid: LiveGrid = LiveGrid()


Sweep = ReplaySweep | LiveSweep
_READER: TypeAdapter[Sweep] = TypeAdapter(Annotated[Sweep, Field(discriminator="kind")])


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's file, with absolute paths. Raises SweepError with all problems by line."""
    try:
        data, lines = read_yaml(path)
    except YamlProblem as problem:
        raise SweepError(str(problem)) from problem
    if not isinstance(data, dict):
        raise SweepError(f"{path}:1: the file must be a mapping with kind, name and grid")
    try:
        sweep = _READER.validate_python(data)
    except ValidationError as error:
        raise SweepError("\n".join(_problems(path, lines, data, error))) from error
    _check_names(path, lines, sweep)
    return _absolute(sweep, path.resolve().parent)


def _problems(path: Path, lines: Lines, data: dict[str, Any], error: ValidationError) -> Sequence[str]:
    found = []
    for each in error.errors(include_url=False):
        # Drop the union's tag and pydantic's names of alternatives.
        loc = _of_the_file(each["loc"], data)
        name = ".".join(str(part) for part in loc)
        what = each["msg"]
        if each["type"] == "extra_forbidden":
            what = "unknown key"
        if each["type"] in {"union_tag_not_found", "union_tag_invalid"}:
            loc, name, what = ("kind",), "kind", "must be replay or live"
        found.append((lines.of(loc), f"{name}: {what}" if name else what))
    return [f"{path}:{line}: {text}" for line, text in sorted(set(found))]


def _of_the_file(loc: tuple[int | str, ...], data: Any) -> tuple[int | str, ...]:
    """`loc` reduced to the keys of the file."""
    kept: list[int | str] = []
    for position, part in enumerate(loc):
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_list or (isinstance(data, dict) and part in data):
            data = data[part]
            kept.append(part)
        elif isinstance(data, dict) and position + 1 == len(loc):
            kept.append(part)
    return tuple(kept)


def _check_names(path: Path, lines: Lines, sweep: Sweep) -> None:
    """Raises SweepError for repeated names and for combinations of axes that cannot work."""
    axes: list[tuple[str, Sequence[Any]]] = [("compositions", sweep.grid.compositions)]
    if isinstance(sweep, LiveSweep):
        axes.append(("prompts", sweep.grid.prompts))
    for axis, values in axes:
        seen: set[str] = set()
        for place, value in enumerate(values):
            if value.name in seen:
                line = lines.of(("grid", axis, place, "name"))
                raise SweepError(f"{path}:{line}: grid.{axis}: the name {value.name!r} occurs twice")
            seen.add(value.name)
    if isinstance(sweep, ReplaySweep):
        grid = sweep.grid
        fitted_only = {"target_active_b": grid.target_active_b, "resident_budget_b": grid.resident_budget_b}
        folders = [each.name for each in grid.compositions if each.folder is not None]
        for axis, options in fitted_only.items():
            if folders and any(each is not None for each in options):
                raise SweepError(
                    f"{path}:{lines.of(('grid', axis))}: grid.{axis}: is an option of fitting, and "
                    f"{folders[0]} is fitted already: give it a sweep of its own, or sweep active_weight"
                )
        both = any(each is not None for each in grid.target_active_b) and any(grid.active_weight)
        if both:
            raise SweepError(
                f"{path}:{lines.of(('grid', 'target_active_b'))}: grid: target_active_b chooses the weight "
                "itself: sweep it or active_weight, not both"
            )


def _absolute(sweep: Sweep, folder: Path) -> Sweep:
    def at(path: Path | None) -> Path | None:
        return None if path is None else (folder / path).resolve()

    if isinstance(sweep, ReplaySweep):
        placed = tuple(
            each.model_copy(update={"folder": at(each.folder)}) for each in sweep.grid.compositions
        )
        grid = sweep.grid.model_copy(update={"compositions": placed})
        return sweep.model_copy(update={"table": at(sweep.table), "grid": grid})
    served = tuple(each.model_copy(update={"folder": at(each.folder)}) for each in sweep.grid.compositions)
    prompts = tuple(each.model_copy(update={"file": at(each.file)}) for each in sweep.grid.prompts)
    live = sweep.grid.model_copy(update={"compositions": served, "prompts": prompts})
    named = folder / sweep.benchmark.name
    benchmark = sweep.benchmark
    if named.is_file():
        benchmark = benchmark.model_copy(update={"name": str(named.resolve())})
    return sweep.model_copy(update={"grid": live, "benchmark": benchmark})
