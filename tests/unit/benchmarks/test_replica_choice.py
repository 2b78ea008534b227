"""The simulation of replicas: what it must show on a small case, and that it repeats."""

from dataclasses import replace

from benchmarks.replica_choice import WAYS, Outcome, choosing_us, simulate


def outcome(way: str) -> Outcome:
    return replace(simulate(way, 3, 0.4, 60), choose_us=0.0)


def test_the_choice_reads_less_and_answers_sooner_than_every_other_way() -> None:
    chosen, *others = (outcome(way) for way in WAYS)
    assert all(chosen.hits > 1.5 * each.hits for each in others)
    assert all(chosen.mean_s < each.mean_s / 2 for each in others)
    assert outcome("chosen") == chosen


def test_the_time_of_a_choice_is_measured() -> None:
    known, idle = choosing_us(3, repeats=20)
    assert known > 0
    assert idle > 0
