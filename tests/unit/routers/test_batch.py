"""Deciding a table at once agrees with deciding its requests one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routers.batch import choose
from routers.estimate import estimate
from routers.policy import Policy
from routers.request import Matrix
from tests.unit.routers.world import CATEGORIES, about, composition, routed

rows = st.lists(
    st.tuples(st.sampled_from(CATEGORIES), st.floats(0, 1, width=32)).map(lambda pair: about(*pair)),
    min_size=1,
    max_size=12,
).map(np.stack)


@given(
    features=rows,
    threshold=st.floats(0, 1),
    ood_threshold=st.floats(0, 1),
    weight=st.sampled_from([0.0, 0.002, 0.05, 1.0]),
)
def test_a_table_is_decided_as_its_requests_are(
    features: Matrix, threshold: float, ood_threshold: float, weight: float
) -> None:
    policy = Policy("coder", threshold=threshold, ood_threshold=ood_threshold, active_weight=weight)
    composed = composition(policy=policy)
    together = choose(composed, policy, estimate(composed, features))
    alone = [routed(row, composed).expert for row in features]
    assert [composed.expert_names[column] for column in together] == alone


def test_equal_values_go_to_the_smaller_expert() -> None:
    composed = composition(utilities=[[0.5, 0.5, 0.5]] * 3)
    chosen = choose(composed, composed.policy, estimate(composed, about("law")[None, :]))
    assert composed.expert_names[chosen[0]] == "small"
