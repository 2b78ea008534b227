"""Ids: unique, and in the order of time."""

import time

from base.ids import new_id


def test_ids_are_unique_and_sort_in_the_order_in_which_they_were_made() -> None:
    several = [new_id("dec_") for _ in range(100)]
    assert len(set(several)) == 100
    assert {len(each) for each in several} == {36}
    time.sleep(0.002)
    assert new_id("dec_") > max(several)
