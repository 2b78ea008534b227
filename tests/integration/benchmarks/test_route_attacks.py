"""The search for words that move a request finds known ones, keeps to its budget and resumes."""

from pathlib import Path

import pytest

from benchmarks.route_attacks import MOST_WORDS, TRIGGERS, Attempt, attempts, prices, shares, table
from routers.composition import load_composition
from routers.encoder import Encoder
from routers.request import Request, Turn
from routers.router import Router

BUDGET = 40
PROMPTS = ("Good morning! How did you sleep?", "Who painted the ceiling of the Sistine Chapel?")


@pytest.fixture(scope="module")
def router(encoder: Encoder) -> Router:
    return Router(encoder, load_composition(Path("routers/compositions/cpu")))


@pytest.fixture(scope="module")
def found(router: Router) -> list[Attempt]:
    return attempts(router, PROMPTS, BUDGET)


def test_what_moves_a_request_has_few_words_around_it_and_does_move_it(
    router: Router, found: list[Attempt]
) -> None:
    price = prices(router.composition)
    moved = [each for each in found if each.text is not None]
    assert {each.goal for each in moved} >= {"dearer", "cheaper"}
    for each in moved:
        text = each.text or ""
        assert each.prompt in text
        assert len(text.split()) <= len(each.prompt.split()) + MOST_WORDS
        decision = router.route(Request("again", (Turn("user", text),)))
        assert decision.expert == each.moved_to
        if each.goal == "dearer":
            assert price[decision.expert] > price[each.expert]
        if each.goal == "cheaper":
            assert price[decision.expert] < price[each.expert]


def test_a_search_keeps_to_its_budget(found: list[Attempt]) -> None:
    assert all(1 <= each.queries <= BUDGET for each in found)


def test_finished_requests_are_read_and_not_searched_again(router: Router, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    first = attempts(router, PROMPTS[:1], 3, kept)
    lines = kept.read_text()
    assert attempts(router, PROMPTS[:1], 3, kept) == first
    assert kept.read_text() == lines
    attempts(router, PROMPTS[:1], 4, kept)
    assert len(kept.read_text()) > len(lines), "another budget is another search"


def test_triggers_are_as_short_as_what_the_search_may_add() -> None:
    assert all(len(trigger.split()) <= MOST_WORDS for trigger in TRIGGERS)


def test_shares_count_by_goal_and_length() -> None:
    def attempt(words: int, queries: int, text: str | None) -> Attempt:
        return Attempt("d", "word " * words, "dearer", 300, "small", queries, text)

    last = 2 * len(TRIGGERS)
    rows = shares([attempt(3, last, "x"), attempt(4, last + 1, "x"), attempt(50, 300, None)])
    assert [(row.words, row.requests, row.moved, row.by_trigger, row.queries) for row in rows] == [
        ("all", 3, 2, 1, last + 0.5),
        ("0 to 9", 2, 2, 1, last + 0.5),
        ("40 or more", 1, 0, 0, None),
    ]
    head, rule, *cells = table(rows).splitlines()
    assert {line.count("|") for line in (head, rule, *cells)} == {8}
    assert rows[0].share == pytest.approx(2 / 3)
    assert rows[0].low < rows[0].share < rows[0].high
