"""Who is loaded, who waits and who gives way."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.residency.residency import Residency, ResidencyLimits, ResidentServer, TooManyWaiting
from experts.residency.residency_policies import (
    POLICIES,
    LeastRecentlyUsed,
    NextExpertPredictor,
    ResidencyPolicy,
)


def two_of_which_one_fits(
    policy: type[LeastRecentlyUsed] | type[NextExpertPredictor] = LeastRecentlyUsed, **limits: float
) -> Residency:
    servers = [ResidentServer("code", 10), ResidentServer("chat", 10)]
    return Residency(servers, ResidencyLimits(memory_gb=10, **limits), policy(["code", "chat"]))  # type: ignore[arg-type]


def load(residency: Residency, server: str, ticket: str, now: float = 0.0) -> None:
    assert not residency.request(ticket, server, now)
    assert [name for name, _ in residency.step(now).wake] == [server]
    residency.woke(server)
    assert residency.step(now).granted == (ticket,)


def test_a_request_for_a_server_that_is_away_wakes_it_and_is_then_granted() -> None:
    residency = two_of_which_one_fits()
    load(residency, "code", "first")
    assert residency.request("second", "code", 1.0)
    assert residency.in_use("code") == 2
    assert residency.switches == 1


def test_who_is_idle_gives_way_at_once() -> None:
    residency = two_of_which_one_fits()
    load(residency, "code", "a")
    assert residency.finish("code")
    residency.request("b", "chat", 1.0)
    step = residency.step(1.0)
    assert step.sleep == (("code", "level1"),)
    assert not step.wake, "its memory is taken until it is asleep"
    residency.slept("code", "level1")
    assert residency.step(1.5).wake == (("chat", "level1"),)


def test_who_is_in_use_stays_until_its_last_answer_ends() -> None:
    residency = two_of_which_one_fits(batch_s=2.0)
    load(residency, "code", "a")
    residency.request("b", "chat", 1.0)
    waits = residency.step(1.0)
    assert waits.sleep == () and waits.again_at == 3.0
    assert residency.request("c", "code", 2.0), "requests are batched until then"
    assert residency.step(3.0).sleep == ()
    assert not residency.request("d", "code", 3.5), "from then on it takes none"
    residency.finish("code")
    assert residency.step(4.0).sleep == ()
    residency.finish("code")
    assert residency.step(5.0).sleep == (("code", "level1"),)


def test_requests_of_two_servers_take_turns() -> None:
    residency = two_of_which_one_fits(batch_s=0.0)
    load(residency, "code", "a")
    residency.request("b", "chat", 1.0)
    residency.step(1.0)
    residency.request("c", "code", 2.0)
    residency.finish("code")
    residency.step(3.0)
    residency.slept("code", "level1")
    assert residency.step(3.0).wake == (("chat", "level1"),), "the older request goes first"
    residency.woke("chat")
    assert residency.step(4.0).granted == ("b",)
    residency.finish("chat")
    assert residency.step(5.0).sleep == (("chat", "level1"),)


def test_a_server_takes_requests_again_when_those_it_was_to_leave_for_have_given_up() -> None:
    residency = two_of_which_one_fits(batch_s=0.0)
    load(residency, "code", "a")
    residency.request("b", "chat", 1.0)
    residency.step(1.0)
    residency.request("c", "code", 2.0)
    residency.leave("b", "chat")
    assert residency.step(2.5).granted == ("c",)


def test_more_requests_than_may_wait_are_refused() -> None:
    residency = two_of_which_one_fits(max_waiting=1)
    residency.request("a", "code", 0.0)
    with pytest.raises(TooManyWaiting):
        residency.request("b", "code", 0.0)
    residency.request("c", "chat", 0.0)


def test_a_failed_wake_sends_those_away_who_wait_and_frees_the_memory() -> None:
    residency = two_of_which_one_fits()
    residency.request("a", "code", 0.0)
    residency.step(0.0)
    residency.request("b", "chat", 0.0)
    assert residency.step(0.0).wake == ()
    assert residency.wake_failed("code", 1.0) == ("a",)
    assert residency.step(1.0).wake == (("chat", "level1"),)


def test_who_waits_for_a_server_that_fails_can_be_sent_away_before_it_is_at_rest() -> None:
    residency = two_of_which_one_fits()
    residency.request("a", "code", 0.0)
    residency.step(0.0)
    assert residency.dismiss("code") == ("a",)
    residency.request("b", "code", 0.5)
    assert residency.wake_failed("code", 1.0) == ("b",)


def test_a_lost_server_keeps_its_memory_until_it_is_found_again() -> None:
    residency = two_of_which_one_fits()
    residency.request("a", "code", 0.0)
    residency.step(0.0)
    residency.wake_failed("code", 1.0, lost=True)
    residency.request("b", "chat", 1.0)
    assert residency.step(1.0).wake == ()
    residency.slept("code", "level1")
    assert residency.step(2.0).wake == (("chat", "level1"),)


def test_level_2_takes_who_has_no_place_in_host_memory() -> None:
    servers = [ResidentServer(name, 10, weights_gb=8) for name in ("a", "b", "c")]
    limits = ResidencyLimits(memory_gb=10, host_memory_gb=20)
    residency = Residency(servers, limits, LeastRecentlyUsed(["a", "b", "c"]), absence={"b": "stopped"})
    load(residency, "b", "first")
    residency.finish("b")
    residency.request("second", "a", 1.0)
    assert residency.step(1.0).sleep == (("b", "level2"),), "8 GB of a and of c are there already"


def test_more_than_fits_at_the_beginning_is_put_to_sleep() -> None:
    residency = two_of_which_one_fits()
    residency.woke("code")
    residency.woke("chat")
    assert residency.step(0.0).sleep == (("code", "level1"),)


def test_a_server_that_never_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than the 10 GB"):
        Residency([ResidentServer("huge", 11)], ResidencyLimits(memory_gb=10), LeastRecentlyUsed(["huge"]))


def test_the_predictor_loads_in_advance_who_follows() -> None:
    residency = two_of_which_one_fits(NextExpertPredictor, prefetch=0.3)
    residency.policy = NextExpertPredictor(["code", "chat"], horizon=1)
    for _ in range(50):
        residency.policy.observe("code")
        residency.policy.observe("chat")
    load(residency, "code", "a")
    residency.finish("code")
    assert residency.step(1.0).sleep == (("code", "level1"),), "chat has always come after code"
    residency.slept("code", "level1")
    assert residency.step(1.5).wake == (("chat", "level1"),)


def test_equals_do_not_take_turns_in_advance() -> None:
    residency = two_of_which_one_fits(NextExpertPredictor, prefetch=0.0)
    residency.woke("code")
    assert residency.step(0.0).sleep == ()


def test_a_server_that_fails_again_and_again_is_loaded_in_advance_ever_more_rarely() -> None:
    servers = [ResidentServer("code", 10)]
    residency = Residency(servers, ResidencyLimits(10, cooldown_s=30.0), NextExpertPredictor(["code"]))
    tried = []
    for now in range(0, 400, 10):
        if residency.step(float(now)).wake:
            tried.append(now)
            residency.wake_failed("code", float(now))
    assert tried == [0, 30, 90, 210]


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    sizes=st.lists(st.integers(1, 10), min_size=1, max_size=5),
    asked=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 3), st.floats(0, 5)), min_size=1, max_size=40),
    batch_s=st.sampled_from([0.0, 2.0, 50.0]),
)
def test_memory_is_never_exceeded_nobody_in_use_leaves_and_everybody_is_served(
    policy: str, sizes: Sequence[int], asked: Sequence[tuple[int, float, float]], batch_s: float
) -> None:
    names = [f"s{place}" for place in range(len(sizes))]
    servers = [ResidentServer(name, size, weights_gb=size) for name, size in zip(names, sizes, strict=True)]
    made: ResidencyPolicy = dict(POLICIES)[policy](names)  # type: ignore[index]
    limits = ResidencyLimits(memory_gb=10, batch_s=batch_s)
    residency = Residency(servers, limits, made)
    now, todo = 0.0, [(place % len(sizes), gap, takes) for place, gap, takes in asked]
    ends: list[tuple[float, str]] = []
    pending: list[tuple[float, str, str]] = []
    served: set[object] = set()
    again_at = math.inf
    arrivals = []
    for number, (place, gap, takes) in enumerate(todo):
        now += gap
        arrivals.append((now, number, names[place], takes))
    takes_of = {number: (server, takes) for _, number, server, takes in arrivals}
    while arrivals or ends or pending or again_at < math.inf:
        due = [each[0] for each in arrivals[:1]] + [each[0] for each in ends] + [each[0] for each in pending]
        now = min(*due, again_at, again_at)
        if again_at <= now:
            again_at = math.inf
        for end in [each for each in ends if each[0] <= now]:
            ends.remove(end)
            residency.finish(end[1])
        for done in [each for each in pending if each[0] <= now]:
            pending.remove(done)
            residency.woke(done[2]) if done[1] == "wake" else residency.slept(done[2], "level1")
        while arrivals and arrivals[0][0] <= now:
            _, number, name, takes = arrivals.pop(0)
            if residency.request(number, name, now):
                served.add(number)
                ends.append((now + takes, name))
        step = residency.step(now)
        for ticket in step.granted:
            assert isinstance(ticket, int)
            name, takes = takes_of[ticket]
            assert residency.state(name) == "resident"
            served.add(ticket)
            ends.append((now + takes, name))
        for name, _ in step.sleep:
            assert residency.in_use(name) == 0
            pending.append((now + 0.5, "sleep", name))
        pending += [(now + 1.0, "wake", name) for name, _ in step.wake]
        again_at = min(again_at, math.inf if step.again_at is None else step.again_at)
        assert residency.taken_gb <= limits.memory_gb + 1e-6
    assert served == set(takes_of)
