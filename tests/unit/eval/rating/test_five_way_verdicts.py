"""Arena-Hard's labels become counts as upstream writes them."""

import pytest

from eval.rating.five_way_verdicts import LABELS, Counts, outcome, total


@pytest.mark.parametrize(
    ("label", "counts"),
    [
        ("A>>B", Counts(3, 0, 0)),
        ("A>B", Counts(1, 0, 0)),
        ("A=B", Counts(0, 1, 0)),
        ("B>A", Counts(0, 0, 1)),
        ("B>>A", Counts(0, 0, 3)),
    ],
)
def test_a_decisive_verdict_counts_three_times(label: str, counts: Counts) -> None:
    assert outcome(label, model_is_a=True) == counts


@pytest.mark.parametrize("label", LABELS)
def test_swapping_the_positions_swaps_wins_and_losses(label: str) -> None:
    first, second = outcome(label, model_is_a=True), outcome(label, model_is_a=False)

    assert (first.win, first.tie, first.loss) == (second.loss, second.tie, second.win)


def test_a_clear_verdict_counts_three_times_unless_its_weight_is_switched_off() -> None:
    assert outcome("A>>B", model_is_a=True) == Counts(3, 0, 0)
    assert outcome("A>>B", model_is_a=False, decisive_weight=1) == Counts(0, 0, 1)


def test_a_judgment_that_cannot_be_read_is_no_tie() -> None:
    with pytest.raises(ValueError, match="is no verdict"):
        outcome("A≥B", model_is_a=True)


def test_games_add_up() -> None:
    assert total([Counts(1, 0, 0), Counts(0, 1, 0), Counts(0, 0, 3)]) == Counts(1, 1, 3)
