"""What finished results say: accuracy with intervals, the mixture against each baseline, what it chose.

Intervals hold 95 % and come from a bootstrap in two steps: seeds with replacement, then test items of
each. Paired ones resample the differences on the same items.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.mixtures.methods import METHODS, MIXTURE, kind_of_prompt

Floats = npt.NDArray[np.float64]

ROUNDS = 2_000
LARGELY_LIVE = 0.15
"""Answers from the disk for each live one, up to which the seconds of a search are shown."""
RIVALS = tuple(name for name in METHODS if name != MIXTURE)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Against:
    """The mixture against one baseline. `wins` to `losses` count tasks with all their seeds together;
    `rate` is the share of tasks won, ties counting half."""

    rival: str
    wins: int
    ties: int
    losses: int
    rate: Interval
    runs_rate: float
    """The same over single runs (task and seed)."""
    difference: Interval
    """Mean over tasks of the difference in accuracy."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task: accuracy by method, and the differences of the mixture to each."""

    task: str
    seeds: int
    accuracy: Mapping[str, Interval]
    difference: Mapping[str, Interval]
    tokens: Mapping[str, float]
    """Prompt tokens a request."""
    prompts: Mapping[str, float]
    """Share of test requests by what was put in front of them."""
    regions: float
    """Mean number."""
    estimate: float
    """Accuracy that the search expected, mean over test requests that were not far."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method costs, means over runs: to prepare, and to answer one request."""

    method: str
    calls: float
    learning_tokens: float
    learning_seconds: float | None
    """None where answers came from the disk."""
    prompt_tokens: float
    completion_tokens: float
    seconds: float | None
    """Of a test request, with others in flight."""
    hit_rate: float | None
    """Share of prompt tokens found in the server's prefix cache."""

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens of a request that the server had to compute."""
        return self.prompt_tokens * (1 - (self.hit_rate or 0.0))


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything reports show, of runs that have all methods."""

    tasks: tuple[TaskSummary, ...]
    against: tuple[Against, ...]
    mean: Mapping[str, Interval]
    """Accuracy, mean over tasks."""
    costs: tuple[Cost, ...]
    runs: int


Runs = dict[str, dict[int, dict[str, dict[str, Any]]]]
"""Results by task, seed and method."""


def summarise(results: Sequence[Mapping[str, Any]], order: Sequence[str]) -> Summary | None:
    """The summary of complete runs, tasks in `order`; None without one."""
    runs = _complete(results)
    names = [name for name in order if name in runs]
    if not names:
        return None
    drawn = {name: _draws(runs[name], seed=index) for index, name in enumerate(names)}
    mean = {method: _mean_of([drawn[name][method] for name in names]) for method in METHODS}
    return Summary(
        tasks=tuple(_task(name, runs[name], drawn[name]) for name in names),
        against=tuple(_against(rival, names, runs, drawn) for rival in RIVALS),
        mean=mean,
        costs=tuple(_cost(method, runs, names) for method in METHODS),
        runs=sum(len(runs[name]) for name in names),
    )


def _complete(results: Sequence[Mapping[str, Any]]) -> Runs:
    runs: Runs = {}
    for result in results:
        setup = result["setup"]
        runs.setdefault(setup["task"], {}).setdefault(setup["seed"], {})[result["method"]] = dict(result)
    for task in list(runs):
        runs[task] = {seed: found for seed, found in runs[task].items() if set(found) >= set(METHODS)}
        if not runs[task]:
            del runs[task]
    return runs


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A mean and its bootstrap distribution, (ROUNDS,)."""

    value: float
    rounds: Floats

    def interval(self) -> Interval:
        low, high = np.quantile(self.rounds, [0.025, 0.975])
        return Interval(self.value, float(low), float(high))


def _draws(by_seed: Mapping[int, Mapping[str, Any]], seed: int) -> dict[str, _Drawn]:
    """Of each method, on the same draws, so that differences are paired."""
    rng = np.random.default_rng(seed)
    scores = {
        method: np.asarray([found[method]["right"] for found in by_seed.values()], dtype=np.float64)
        for method in METHODS
    }
    seeds, items = scores[MIXTURE].shape
    rounds: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(ROUNDS):
        rows = rng.integers(seeds, size=(seeds, 1))
        columns = rng.integers(items, size=(seeds, items))
        for method, values in scores.items():
            rounds[method].append(float(values[rows, columns].mean()))
    return {
        method: _Drawn(float(values.mean()), np.asarray(rounds[method])) for method, values in scores.items()
    }


def _mean_of(drawn: Sequence[_Drawn]) -> Interval:
    value = float(np.mean([each.value for each in drawn]))
    return _Drawn(value, np.mean([each.rounds for each in drawn], axis=0)).interval()


def _task(name: str, by_seed: Mapping[int, Mapping[str, Any]], drawn: Mapping[str, _Drawn]) -> TaskSummary:
    mixtures = [found[MIXTURE] for found in by_seed.values()]
    return TaskSummary(
        task=name,
        seeds=len(by_seed),
        accuracy={method: drawn[method].interval() for method in METHODS},
        difference={rival: _difference(drawn, rival).interval() for rival in RIVALS},
        tokens={
            method: float(np.mean([found[method]["prompt_tokens"] for found in by_seed.values()]))
            for method in METHODS
        },
        prompts=_prompts(mixtures),
        regions=float(np.mean([len(each["facts"]["regions"]) for each in mixtures])),
        estimate=_estimate(mixtures),
    )


def _estimate(mixtures: Sequence[Mapping[str, Any]]) -> float:
    expected = [
        each["facts"]["regions"][region]["estimate"]
        for each in mixtures
        for region in each["regions"]
        if region is not None
    ]
    return float(np.mean(expected)) if expected else float("nan")


def _difference(drawn: Mapping[str, _Drawn], rival: str) -> _Drawn:
    ours, theirs = drawn[MIXTURE], drawn[rival]
    return _Drawn(ours.value - theirs.value, ours.rounds - theirs.rounds)


def _prompts(mixtures: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    counted: Counter[str] = Counter()
    for each in mixtures:
        regions = each["facts"]["regions"]
        for region in each["regions"]:
            counted["far: fallback" if region is None else kind_of_prompt(regions[region])] += 1
    total = counted.total()
    return {kind: count / total for kind, count in counted.most_common()}


def _against(
    rival: str, names: Sequence[str], runs: Runs, drawn: Mapping[str, Mapping[str, _Drawn]]
) -> Against:
    gaps = [_difference(drawn[name], rival) for name in names]
    values = np.asarray([gap.value for gap in gaps])
    wins, losses = int((values > 1e-9).sum()), int((values < -1e-9).sum())
    # Tasks are what a win rate is over, so tasks are what is drawn; within each, one of its rounds.
    rng = np.random.default_rng(0)
    rounds = np.stack([gap.rounds for gap in gaps])
    picked = rng.integers(len(names), size=(ROUNDS, len(names)))
    sampled = rounds[picked, rng.integers(ROUNDS, size=picked.shape)]
    rates = _won(sampled).mean(axis=1)
    single = np.asarray(
        [
            np.mean(found[MIXTURE]["right"]) - np.mean(found[rival]["right"])
            for name in names
            for found in runs[name].values()
        ]
    )
    difference = _Drawn(float(values.mean()), sampled.mean(axis=1)).interval()
    rate = _Drawn(float(_won(values).mean()), rates).interval()
    return Against(
        rival, wins, len(names) - wins - losses, losses, rate, float(_won(single).mean()), difference
    )


def _won(gaps: Floats) -> Floats:
    return np.where(gaps > 1e-9, 1.0, np.where(gaps < -1e-9, 0.0, 0.5))


def _cost(method: str, runs: Runs, names: Sequence[str]) -> Cost:
    found = [by_seed[method] for name in names for by_seed in runs[name].values()]
    bills = [each["bill"] for each in found]
    # A few answers come from the disk in every run: methods share the plain prompt.
    fresh = [bill["seconds"] for bill in bills if bill and bill["cached"] <= LARGELY_LIVE * bill["calls"]]
    caches = [each["prefix_cache"] for each in found if each["prefix_cache"]]
    live = [each for each in found if each["live"] == len(each["right"])]
    return Cost(
        method=method,
        calls=_mean([bill.get("calls", 0) + bill.get("cached", 0) for bill in bills]),
        learning_tokens=_mean(
            [bill.get("prompt_tokens", 0) + bill.get("completion_tokens", 0) for bill in bills]
        ),
        learning_seconds=_mean(fresh) if fresh else None,
        prompt_tokens=_mean([np.mean(each["prompt_tokens"]) for each in found]),
        completion_tokens=_mean([np.mean(each["completion_tokens"]) for each in found]),
        seconds=_mean([each["seconds"] / len(each["right"]) for each in live]) if live else None,
        hit_rate=(
            sum(each["hits"] for each in caches) / max(1, sum(each["queries"] for each in caches))
            if caches
            else None
        ),
    )


def _mean(values: Sequence[Any]) -> float:
    return float(np.mean(values))
