"""Policies, streams replayed under them, and what is measured of a stream itself."""

import random

import pytest

from experts.residency.residency import ResidencyLimits, ResidentServer
from experts.residency.residency_policies import Belady, LeastFrequentlyUsed, NextExpertPredictor
from experts.residency.segment_metrics import cache_hit_rate, segment_metrics
from experts.residency.simulation import POLICY_NAMES, Arrival, Simulated, SwitchTimes, policy_named, simulate

NAMES = ["a", "b", "c", "d"]
SERVERS = [ResidentServer(name, 10, weights_gb=10) for name in NAMES]
TIMES = SwitchTimes(level1_s=1.0, level2_s=2.0, stopped_s=30.0, sleep_s=0.0)


def stream_of(text: str, *, gap_s: float = 10.0, answer_s: float = 1.0) -> list[Arrival]:
    return [Arrival(place * gap_s, server, answer_s) for place, server in enumerate(text)]


def replay(policy: str, stream: list[Arrival], memory_gb: float = 20) -> Simulated:
    limits = ResidencyLimits(memory_gb=memory_gb)
    return simulate(stream, SERVERS, limits, TIMES, policy_named(policy, NAMES, stream))


def test_a_switch_costs_its_time_and_a_hit_none() -> None:
    found = replay("lru", stream_of("aab"), memory_gb=10)
    assert found.waits == (1.0, 0.0, 1.0)
    assert found.switches == 2
    assert found.hit_rate == pytest.approx(1 / 3)
    assert found.loaded["a"] == pytest.approx((20 - 1) / 22)


def test_times_depend_on_how_the_server_was_away() -> None:
    stream = stream_of("a", gap_s=100)
    for leaves, seconds in (("level1", 1.0), ("level2", 2.0), ("stopped", 30.0)):
        limits = ResidencyLimits(10, leaves=leaves)  # type: ignore[arg-type]
        found = simulate(stream, SERVERS, limits, TIMES, policy_named("lru", NAMES, stream))
        assert found.mean_wait_s == seconds


def test_the_least_recently_used_goes_where_the_least_frequent_would_stay() -> None:
    assert replay("lru", stream_of("aaabcb")).switches == 3
    assert replay("lfu", stream_of("aaabca")).switches == 3
    assert replay("lru", stream_of("aaabca")).switches == 4


def test_nobody_loads_less_on_demand_than_belady() -> None:
    rng = random.Random(3)
    for seed in range(20):
        stream = stream_of("".join(rng.choices("abcd", [5, 3, 2, 1], k=120)))
        switches = {name: replay(name, stream).switches for name in ("lru", "lfu", "belady")}
        assert switches["belady"] == min(switches.values()), seed


def test_the_predictor_waits_less_than_lru_where_servers_follow_each_other() -> None:
    stream = stream_of("abc" * 60)
    waits = {name: replay(name, stream).mean_wait_s for name in POLICY_NAMES}
    assert waits["predictor"] < 0.5 * waits["lru"]


def test_the_predictor_learns_frequencies_and_what_follows_what() -> None:
    predictor = NextExpertPredictor(NAMES, horizon=1.0)
    assert set(predictor.likely().values()) == {0.25}, "nothing is known yet"
    for server in "ab" * 100:
        predictor.observe(server)
    following = predictor.likely()
    assert sum(following.values()) == pytest.approx(1)
    assert following["a"] > 0.9
    assert min(following.values()) > 0


def test_the_predictor_looks_as_far_as_it_is_told() -> None:
    for horizon, least in ((1.0, 0.9), (8.0, 0.5)):
        predictor = NextExpertPredictor(NAMES, horizon=horizon)
        for server in "ab" * 100:
            predictor.observe(server)
        assert predictor.likely()["a"] == pytest.approx(least, abs=0.08)


def test_the_predictor_forgets_what_is_no_longer_so() -> None:
    predictor = NextExpertPredictor(NAMES, half_life=20)
    for server in "a" * 200 + "b" * 60:
        predictor.observe(server)
    assert predictor.worth()["b"] > predictor.worth()["a"]


def test_of_equally_frequent_servers_the_older_goes() -> None:
    policy = LeastFrequentlyUsed(NAMES)
    for server in "abab":
        policy.observe(server)
    worth = policy.worth()
    assert worth["b"] > worth["a"] > worth["c"]


def test_belady_knows_when_each_comes_again() -> None:
    policy = Belady(NAMES, "abca")
    policy.observe("a")
    worth = policy.worth()
    assert worth["b"] > worth["c"] > worth["a"] > worth["d"]


def test_an_empty_stream_cannot_be_replayed() -> None:
    with pytest.raises(ValueError, match="no request"):
        replay("lru", [])


def test_segments_of_one_server_are_served_by_one() -> None:
    sizes = dict.fromkeys("ab", 10.0)
    found = segment_metrics("a" * 50 + "b" * 50, sizes, 10, 10)
    assert found.srp > 0.9 and found.coverage > 0.9
    assert found.group == pytest.approx(1, abs=0.1)
    assert found.sch == pytest.approx(0.98)


def test_segments_that_need_everybody_are_served_by_nobody_alone() -> None:
    found = segment_metrics("abcd" * 25, dict.fromkeys("abcd", 10.0), 10, 8)
    assert found.coverage == pytest.approx(0.25)
    # Everybody is in the group, which would serve 4 * 8 for the 8 that are asked.
    assert found.srp == pytest.approx(2 * 8 / (4 * 8 + 8))
    assert found.sch == 0


def test_the_best_cache_of_unlike_servers_keeps_within_the_memory() -> None:
    sizes = {"a": 10.0, "b": 5.0, "c": 5.0}
    assert cache_hit_rate("bcbcbc", sizes, 10, 4) == pytest.approx(4 / 6)
    assert cache_hit_rate("abcabc", sizes, 10, 4) < 0.5


def test_a_stream_shorter_than_a_segment_is_an_error() -> None:
    with pytest.raises(ValueError, match="fewer than a segment"):
        segment_metrics("ab", {"a": 1.0, "b": 1.0}, 10, 3)
