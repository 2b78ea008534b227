"""The summary counts wins, gains and costs as it says."""

from typing import Any

import pytest

from benchmarks.mixtures.methods import METHODS, kind_of_prompt
from benchmarks.mixtures.mixture_summary import RIVALS, summarise

SHARES = {"mixture": 8, "zero-shot": 0, "instruction": 2, "random demos": 8, "nearest demos": 9}
"""Right answers of ten."""


def result(task: str, seed: int, method: str, right: int) -> dict[str, Any]:
    regions = [
        {"demo_set": "region:8", "demos": 8, "instruction": "Sort them.", "estimate": 0.9},
        {"demo_set": "none", "demos": 0, "instruction": "", "estimate": 0.6},
    ]
    mixture = method == "mixture"
    return {
        "setup": {"task": task, "seed": seed},
        "method": method,
        "bill": {"calls": 200, "cached": 0, "prompt_tokens": 5000, "completion_tokens": 500, "seconds": 40.0}
        if mixture
        else {},
        "facts": {"regions": regions} if mixture else {},
        "right": [1.0] * right + [0.0] * (10 - right),
        "regions": [0] * 6 + [1] * 3 + [None] if mixture else [],
        "prompt_tokens": [50] * 10,
        "completion_tokens": [3] * 10,
        "seconds": 5.0,
        "live": 10,
        "prefix_cache": {"queries": 500, "hits": 400},
    }


def results(tasks: int = 3, seeds: int = 2, **others: int) -> list[dict[str, Any]]:
    return [
        result(f"task{task}", seed, method, (SHARES | others)[method])
        for task in range(tasks)
        for seed in range(seeds)
        for method in METHODS
    ]


ORDER = ["task0", "task1", "task2"]


def test_accuracy_is_the_mean_over_seeds_and_items_within_its_interval() -> None:
    found = summarise(results(), ORDER)
    assert found is not None
    assert [each.task for each in found.tasks] == ORDER
    mixture = found.tasks[0].accuracy["mixture"]
    assert mixture.value == pytest.approx(0.8)
    assert 0.4 < mixture.low < 0.8 < mixture.high <= 1.0
    assert found.mean["zero-shot"].value == 0.0
    assert found.mean["mixture"].high - found.mean["mixture"].low < mixture.high - mixture.low


def test_ties_count_half_in_the_win_rate() -> None:
    found = summarise(results(), ORDER)
    assert found is not None
    rates = {each.rival: (each.wins, each.ties, each.losses, each.rate.value) for each in found.against}
    assert rates["zero-shot"] == (3, 0, 0, 1.0)
    assert rates["random demos"] == (0, 3, 0, 0.5)
    assert rates["nearest demos"] == (0, 0, 3, 0.0)


def test_differences_are_paired() -> None:
    """On the very same items right, no draw of items makes a difference."""
    found = summarise(results(), ORDER)
    assert found is not None
    gap = found.tasks[0].difference["random demos"]
    assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)
    assert found.tasks[0].difference["zero-shot"].low > 0


def test_runs_without_all_methods_are_left_out() -> None:
    partial = [each for each in results() if (each["setup"]["seed"], each["method"]) != (1, "instruction")]
    found = summarise(partial, ORDER)
    assert found is not None
    assert found.runs == 3
    assert {each.seeds for each in found.tasks} == {1}
    assert summarise([each for each in partial if each["method"] != "mixture"], ORDER) is None


def test_costs_are_means_over_runs() -> None:
    found = summarise(results(), ORDER)
    assert found is not None
    costs = {each.method: each for each in found.costs}
    mixture = costs["mixture"]
    assert (mixture.calls, mixture.learning_tokens, mixture.learning_seconds) == (200, 5500, 40.0)
    assert (mixture.prompt_tokens, mixture.completion_tokens, mixture.seconds) == (50, 3, 0.5)
    assert mixture.hit_rate == 0.8
    assert mixture.computed_tokens == pytest.approx(10)
    assert costs["zero-shot"].calls == 0


def test_seconds_and_hits_come_from_live_answers_alone() -> None:
    cached = [
        each
        | {
            "live": 0,
            "prefix_cache": None,
            "bill": each["bill"] and each["bill"] | {"calls": 100, "cached": 100},
        }
        for each in results()
    ]
    found = summarise(cached, ORDER)
    assert found is not None
    mixture = found.costs[0]
    assert mixture.method == "mixture"
    assert mixture.learning_seconds is mixture.seconds is mixture.hit_rate is None


def test_it_says_what_requests_got() -> None:
    found = summarise(results(), ORDER)
    assert found is not None
    assert found.tasks[0].prompts == {"instruction + own demos": 0.6, "plain": 0.3, "far: fallback": 0.1}
    assert found.tasks[0].estimate == pytest.approx((6 * 0.9 + 3 * 0.6) / 9)
    assert kind_of_prompt({"demo_set": "shared:8", "demos": 8, "instruction": ""}) == "shared demos"
    assert (
        kind_of_prompt({"demo_set": "nearest:4", "demos": 4, "instruction": "Go."})
        == "instruction + nearest demos"
    )
    assert kind_of_prompt({"demo_set": "region:8", "demos": 0, "instruction": "Go."}) == "instruction"
    assert set(found.tasks[0].difference) == set(RIVALS)
