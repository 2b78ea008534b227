"""The benchmark of prices of switches, on a table whose best map is known."""

import numpy as np

from benchmarks.switch_price import priced
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable

PROMPTS = 400


def planted() -> OutcomeTable:
    """`code` is right on code and half the time on talk; `talk` the other way round. Code is asked more."""
    categories = tuple("code" if row % 4 else "talk" for row in range(PROMPTS))
    good = np.asarray([[name == "code", name == "talk"] for name in categories])
    scores = np.where(good, 1.0, (np.arange(PROMPTS) // 4 % 2)[:, None]).astype(np.float32)
    uids = tuple(map(str, range(PROMPTS)))
    return OutcomeTable(uids, categories, uids, (ExpertCard("code", 8, 8), ExpertCard("talk", 8, 8)), scores)


def test_a_price_gives_up_the_score_of_whom_it_is_not_worth_to_wake() -> None:
    free = priced(planted(), 8, 0.0, "level2", 1.0, seed=0)
    dear = priced(planted(), 8, 1.0, "level2", 1.0, seed=0)
    assert (free.experts, free.score) == (2, 1.0)
    assert free.wait_s > 0.5 and free.switches > 0.05
    assert dear.experts == 1
    assert dear.wait_s < 0.1 and dear.switches < 0.01, "the first request alone wakes somebody"
    assert 0.8 < dear.score < 0.95


def test_all_that_fits_costs_nothing() -> None:
    found = priced(planted(), 16, 1.0, "stopped", 1.0, seed=0)
    assert (found.experts, found.score) == (2, 1.0)
