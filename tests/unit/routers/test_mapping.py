"""The map is the best there is within the budget."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.composition import ExpertCard
from routers.mapping import BudgetTooSmall, SwitchPrice, solve_map
from tests.unit.routers.world import card

EVEN = np.full(2, 0.5, dtype=np.float32)
FREE = np.zeros(2, dtype=np.float32)


def table(*rows: Sequence[float]) -> np.ndarray:
    return np.asarray(rows, dtype=np.float32)


def model(expert: ExpertCard) -> str:
    return expert.base or expert.name


def best_by_hand(
    values: np.ndarray, experts: Sequence[ExpertCard], weights: np.ndarray, budget: float
) -> float:
    """The best objective over every subset of models that fits."""
    size = {model(expert): expert.params_b for expert in experts}
    best = -np.inf
    for count in range(1, len(size) + 1):
        for subset in combinations(sorted(size), count):
            if sum(size[name] for name in subset) > budget + 1e-9:
                continue
            columns = [i for i, expert in enumerate(experts) if model(expert) in subset]
            best = max(best, float((weights * values[:, columns].max(axis=1)).sum()))
    return best


def test_without_a_budget_each_category_takes_its_best_expert() -> None:
    found = solve_map(table([0.9, 0.1], [0.2, 0.8]), [card("a"), card("b")], EVEN, FREE)
    assert found.expert_of == (0, 1)
    assert found.kept == (0, 1)
    assert found.objective == pytest.approx(0.85)


def test_a_tight_budget_keeps_the_one_model_that_is_best_overall() -> None:
    experts = [card("a", 7), card("b", 7)]
    found = solve_map(table([0.9, 0.5], [0.2, 0.8]), experts, EVEN, FREE, resident_budget_b=10)
    assert found.expert_of == (1, 1)
    assert found.kept == (1,)


def test_the_budget_looks_beyond_the_greedy_choice() -> None:
    # The best single model leaves no room; two smaller ones are better together.
    experts = [card("big", 10), card("left", 6), card("right", 4)]
    utilities = table([0.7, 0.9, 0.1], [0.7, 0.1, 0.9])
    found = solve_map(utilities, experts, EVEN, np.zeros(3, dtype=np.float32), resident_budget_b=10)
    assert found.expert_of == (1, 2)


def test_prompt_experts_over_one_model_are_paid_for_once() -> None:
    experts = [card("llama", 8), card("llama-lawyer", 8, base="llama"), card("qwen", 8)]
    utilities = table([0.5, 0.2, 0.1], [0.2, 0.6, 0.7])
    found = solve_map(utilities, experts, EVEN, np.zeros(3, dtype=np.float32), resident_budget_b=8)
    assert found.expert_of == (0, 1)
    assert found.kept == (0, 1)


def test_what_weights_say_is_rare_gives_way() -> None:
    experts = [card("a", 7), card("b", 7)]
    rarely = np.asarray([0.95, 0.05], dtype=np.float32)
    found = solve_map(table([0.9, 0.8], [0.1, 0.9]), experts, rarely, FREE, resident_budget_b=7)
    assert found.expert_of == (0, 0)


def test_a_cost_moves_categories_where_little_is_lost() -> None:
    experts = [card("small", 1), card("large", 70)]
    utilities = table([0.6, 0.65], [0.2, 0.9])
    costs = np.asarray([0.0, 0.1], dtype=np.float32)
    found = solve_map(utilities, experts, EVEN, costs)
    assert found.expert_of == (0, 1)
    assert found.active_params_b == pytest.approx((1 + 70) / 2)


def test_a_model_that_nothing_uses_is_not_kept() -> None:
    experts = [card("best", 7), card("idle", 7)]
    found = solve_map(table([0.9, 0.1], [0.9, 0.1]), experts, EVEN, FREE, resident_budget_b=100)
    assert found.kept == (0,)


def test_a_budget_below_the_smallest_model_names_it() -> None:
    with pytest.raises(BudgetTooSmall, match=r"0.5 B .* small with 1 B"):
        solve_map(table([1, 1]), [card("small", 1), card("large", 7)], EVEN[:1], FREE, resident_budget_b=0.5)


sizes = st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0, 9.0])


@st.composite
def problems(
    draw: st.DrawFn,
) -> tuple[np.ndarray, list[ExpertCard], np.ndarray, np.ndarray, float]:
    n_experts, n_categories = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    experts: list[ExpertCard] = []
    for each in range(n_experts):
        bases = [expert for expert in experts if expert.base is None]
        prompted = draw(st.booleans())
        if bases and prompted:
            base = bases[draw(st.integers(0, len(bases) - 1))]
            experts.append(card(f"e{each}", base.params_b, base=base.name))
        else:
            experts.append(card(f"e{each}", draw(sizes)))
    unit = st.floats(0, 1, width=32)
    utilities = [draw(st.lists(unit, min_size=n_experts, max_size=n_experts)) for _ in range(n_categories)]
    raw = draw(st.lists(st.floats(0.1, 1), min_size=n_categories, max_size=n_categories))
    costs = draw(st.lists(st.floats(0, 0.5, width=32), min_size=n_experts, max_size=n_experts))
    smallest = min(expert.params_b for expert in experts)
    budget = draw(st.floats(smallest, 25))
    weights = np.asarray(raw) / sum(raw)
    return table(*utilities), experts, weights, np.asarray(costs, dtype=np.float32), budget


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_map_equals_brute_force_and_the_budget_is_never_exceeded(
    problem: tuple[np.ndarray, list[ExpertCard], np.ndarray, np.ndarray, float],
) -> None:
    utilities, experts, weights, costs, budget = problem
    found = solve_map(utilities, experts, weights, costs, budget)
    assert set(found.expert_of) <= set(found.kept)
    resident = {model(experts[column]): experts[column].params_b for column in found.kept}
    assert sum(resident.values()) <= budget + 1e-6
    by_hand = best_by_hand(utilities - costs, experts, weights, budget)
    assert found.objective == pytest.approx(by_hand, abs=2e-6)


def best_with_switches(
    values: np.ndarray, experts: Sequence[ExpertCard], weights: np.ndarray, switching: SwitchPrice
) -> float:
    """The best objective over all that may stay loaded: one switch where there is room, else two."""
    size = {model(expert): expert.params_b for expert in experts}
    best = -np.inf
    for count in range(len(size) + 1):
        for loaded in combinations(sorted(size), count):
            left = switching.loaded_b - sum(size[name] for name in loaded)
            if left < -1e-9:
                continue
            brings = [
                0 if name in loaded else 1 if size[name] <= left + 1e-9 else 2 for name in map(model, experts)
            ]
            fits = np.asarray([size[model(expert)] <= switching.loaded_b for expert in experts])
            priced = np.where(fits, values - switching.per_request * np.asarray(brings), -np.inf)
            best = max(best, float((weights * priced.max(axis=1)).sum()))
    return best


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0, 0.4), st.sampled_from([1.0, 4.0]))
def test_a_map_that_prices_switches_equals_brute_force(
    problem: tuple[np.ndarray, list[ExpertCard], np.ndarray, np.ndarray, float], cost: float, run: float
) -> None:
    utilities, experts, weights, costs, loaded_b = problem
    switching = SwitchPrice(loaded_b, cost, run)
    found = solve_map(utilities, experts, weights, costs, switching=switching)
    by_hand = best_with_switches(utilities - costs, experts, weights, switching)
    assert found.objective == pytest.approx(by_hand, abs=2e-6)
    size = {model(experts[column]): experts[column].params_b for column in found.kept}
    loaded = sum(size[name] for name in {model(experts[column]) for column in found.loaded})
    assert loaded <= loaded_b + 1e-6
    for column in found.kept:
        if found.brings[column] == 1:
            assert loaded + experts[column].params_b <= loaded_b + 1e-6
    brought = np.asarray(found.brings)[list(found.expert_of)]
    assert found.switches == pytest.approx(float(weights @ brought) / run)


def test_a_dear_switch_keeps_requests_with_who_is_loaded_and_a_cheap_one_does_not() -> None:
    experts = [card("large", 10), card("small", 6)]
    utilities = table([0.9, 0.5], [0.5, 0.7])
    shares = np.asarray([0.8, 0.2], dtype=np.float32)
    free = np.zeros(2, dtype=np.float32)
    cheap = solve_map(utilities, experts, shares, free, switching=SwitchPrice(16, 1.0))
    assert (cheap.expert_of, cheap.loaded, cheap.switches) == ((0, 1), (0, 1), 0), "both fit"
    dear = solve_map(utilities, experts, shares, free, switching=SwitchPrice(10, 0.5))
    assert dear.expert_of == (0, 0)
    assert dear.loaded == (0,)
    swapping = solve_map(utilities, experts, shares, free, switching=SwitchPrice(10, 0.01))
    assert (swapping.expert_of, swapping.loaded) == ((0, 1), (0,))
    assert swapping.brings == (0, 2), "the small one in, and the large one back"
    assert swapping.switches == pytest.approx(0.4)


def test_memory_below_the_smallest_model_names_it() -> None:
    with pytest.raises(BudgetTooSmall, match=r"memory for loaded models of 1 B .* tiny"):
        solve_map(
            table([0.5]),
            [card("tiny", 2)],
            np.ones(1, dtype=np.float32),
            np.zeros(1, dtype=np.float32),
            switching=SwitchPrice(1, 0.1),
        )
