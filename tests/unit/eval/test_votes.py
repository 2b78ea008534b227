"""No key counts more than its share of the votes; a key alone counts whole."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from eval.votes import Label, Vote, bound_votes, mean_by_answer


def votes(key: Label, count: int, category: str = "coding", value: float = 1.0) -> list[Vote]:
    return [Vote(f"{key}-{category}-{each}", key, category, "coder", value) for each in range(count)]


def counted(*given: list[Vote], share: float = 0.1, trusted: tuple[str, ...] = ()) -> dict[Label, int]:
    kept, _ = bound_votes([vote for each in given for vote in each], share, trusted)
    return dict(Counter(vote.key for vote in kept))


def test_a_key_alone_counts_whole() -> None:
    for key in ("desk", None):
        kept, report = bound_votes(votes(key, 50))
        assert len(kept) == 50
        assert report is not None
        assert (report.keys, report.gave, report.counted, report.left_out) == (1, 1.0, 1.0, 0)


def test_few_keys_count_alike() -> None:
    given_ = votes("a", 80) + votes("b", 10) + votes("c", 10)
    kept, report = bound_votes(given_)
    assert Counter(vote.key for vote in kept) == {"a": 10, "b": 10, "c": 10}
    assert report is not None
    assert (report.keys, report.largest, report.gave, report.left_out) == (3, "a", 0.8, 70)
    assert round(report.counted, 2) == 0.33


def test_one_of_many_keys_gives_a_tenth_at_most() -> None:
    others = [votes(f"k{each}", 5) for each in range(20)]
    assert counted(*others, votes("loud", 1000))["loud"] == 11
    assert counted(*others, votes("loud", 1000), share=1)["loud"] == 1000
    assert counted(*others, votes("loud", 7))["loud"] == 7


def test_the_share_holds_in_every_category_of_an_expert() -> None:
    spread = [votes(f"k{each}", 5, f"c{each % 10}") for each in range(20)]
    loud = [votes("loud", 40, "c0"), votes("loud", 40, "none of the others votes here")]
    kept, _ = bound_votes([vote for each in [*spread, *loud] for vote in each])
    cells = Counter((vote.category, vote.key) for vote in kept)
    assert cells["c0", "loud"] <= 5
    assert sum(count for (_, key), count in cells.items() if key == "loud") <= 11


def test_a_trusted_key_counts_whole_and_leaves_others_their_share_of_all() -> None:
    found = counted(votes("judge", 90), votes("loud", 500), trusted=("judge",))
    assert found == {"judge": 90, "loud": 90}


def test_the_same_votes_are_drawn_whatever_their_order() -> None:
    given_ = votes("a", 30) + votes("b", 4)
    assert set(bound_votes(given_)[0]) == set(bound_votes(given_[::-1])[0])


def test_keys_count_alike_on_one_answer() -> None:
    one = [Vote("x", "a", "coding", "coder", 1.0), Vote("x", "b", "coding", "coder", 0.0)]
    assert mean_by_answer(one) == {"x": 0.5}
    assert bound_votes([]) == ((), None)


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(1, 60), min_size=1),
    st.floats(0.01, 1),
)
def test_no_key_of_a_category_is_above_its_share_nor_silenced(counts: dict[str, int], share: float) -> None:
    kept, _ = bound_votes([vote for key, count in counts.items() for vote in votes(key, count)], share)
    found = Counter(vote.key for vote in kept)
    assert set(found) == set(counts)
    assert max(found.values()) / len(kept) <= max(share, 1 / len(counts)) + 1e-6
