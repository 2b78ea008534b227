"""What was scored becomes an outcome table, and refitting on it makes routing better."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.composition_replay import replay
from eval.decontamination import fitted_prompts, screen
from eval.outcome_export import (
    ExportError,
    Gathered,
    Scored,
    from_run,
    from_table,
    from_traffic,
    gathered_table,
    write_table,
)
from eval.traffic import Logged
from routers.composition import Composition, ExpertCard
from routers.evidence import Evidence
from routers.features import features_of
from routers.fitting import FitOptions, Labelled, fit
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Request, Turn
from routers.router import Router
from tests.commands import coterie
from tests.unit.routers.world import BagOfWords, card

TOPICS = {"coding": "function loop compile bug array stack", "law": "contract court tenant clause lease deed"}
CARDS = (card("coder", 2.0), card("lawyer", 4.0))
CHANCE = {
    ("coding", "coder"): 0.95,
    ("coding", "lawyer"): 0.3,
    ("law", "coder"): 0.3,
    ("law", "lawyer"): 0.95,
}


def planted(count: int, seed: int, chance: dict[tuple[str, str], float] = CHANCE) -> OutcomeTable:
    """`count` prompts of each topic; each expert scores by `chance`."""
    random = np.random.default_rng(seed)
    prompts, categories, scores = [], [], []
    for topic, words in TOPICS.items():
        for number in range(count):
            prompts.append(" ".join(random.choice(words.split(), 6)) + f" {topic}{seed}n{number}")
            categories.append(topic)
            scores.append([float(random.random() < chance[topic, each.name]) for each in CARDS])
    uids = tuple(f"{seed}-{number}" for number in range(len(prompts)))
    return OutcomeTable(uids, tuple(categories), tuple(prompts), CARDS, np.asarray(scores, dtype=np.float32))


def fitted(table: OutcomeTable) -> tuple[Composition, Evidence]:
    data = Labelled(table.prompts, table.categories, features_of(BagOfWords(), table.prompts))
    options = FitOptions(classifier="centroid", correction=False, jobs=1)
    found = fit(data, table, BagOfWords(), options, scored=np.arange(len(table)))
    assert found.evidence is not None
    return found.composition, found.evidence


def decision(expert: str, **changes: Any) -> Logged:
    return Logged.model_validate(
        {
            "id": f"dec_{changes.pop('id', 0)}",
            "expert": expert,
            "category": "coding",
            "ranking": [
                {"expert": each.name, "utility": 0.5, "active_params_b": each.active_params_b, "price": 1.0}
                for each in CARDS
            ],
            "messages": [{"role": "user", "content": "Sort a list."}],
            "feedback": [{"rating": 1}],
            **changes,
        }
    )


def voted(key: str | None, topic: str, expert: str, row: int, score: float) -> Logged:
    """A vote of `key` on an answer to a request of its own."""
    name = f"{key}-{topic}-{expert}-{row}"
    prompt = " ".join(np.random.default_rng(row).choice(TOPICS[topic].split(), 6))
    return decision(
        expert,
        id=name,
        category=topic,
        messages=[{"role": "user", "content": f"{prompt} {name}"}],
        feedback=[{"score": score, "api_key": key}],
    )


def test_one_key_cannot_move_the_map_against_many() -> None:
    cells = list(CHANCE)
    random = np.random.default_rng(4)
    many = []
    for key in range(20):
        for vote in range(5):
            topic, expert = cells[(key + vote) % len(cells)]
            score = float(random.random() < CHANCE[topic, expert])
            many.append(voted(f"k{key}", topic, expert, vote, score))
    loud = [voted("loud", "coding", "coder", row, 0.0) for row in range(1000)]

    def mapped(log: list[Logged], **options: Any) -> dict[str, str]:
        return dict(fitted(gathered_table([from_traffic(log, **options)]))[0].map)

    right = {"coding": "coder", "law": "lawyer"}
    assert mapped(many) == right
    assert mapped(many + loud) == right
    # Without the bound it would, and so it may where the operator trusts that key.
    assert mapped(many + loud, share=1)["coding"] == "lawyer"
    assert mapped(many + loud, trusted=("loud",))["coding"] == "lawyer"
    votes = from_traffic(many + loud).votes
    assert votes is not None
    assert (votes.keys, votes.largest, round(votes.gave, 2)) == (21, "loud", 0.91)
    assert votes.counted <= 0.1


@pytest.mark.parametrize("key", ["desk", None])
def test_with_one_key_every_vote_counts(key: str | None) -> None:
    log = [voted(key, "coding", "coder", row, row % 2) for row in range(40)]
    found = from_traffic(log)
    assert (len(found.scores), found.left_out) == (40, {})


def test_the_command_says_what_the_largest_key_gave_and_what_it_counts(tmp_path: Path) -> None:
    log = [voted("desk", "coding", "coder", row, 1.0) for row in range(80)]
    log += [voted(key, "coding", "coder", row, 0.0) for key in ("lab", "shop") for row in range(10)]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(f"{each.model_dump_json()}\n" for each in log + log[:5]))

    bounded = coterie("eval", "export", str(tmp_path / "bounded"), "--log", str(file))
    assert (
        "3 keys; the largest (desk) gave 80% of the votes, counted as 33%; 70 votes left out" in bounded.out
    )
    assert "left out: 70 rated by keys beyond their share alone" in bounded.out
    assert len(read_outcomes(tmp_path / "bounded")) == 30
    for option in (
        ("--key-share", "1"),
        ("--trust-key", "desk", "--trust-key", "lab", "--trust-key", "shop"),
    ):
        whole = coterie("eval", "export", str(tmp_path / "whole"), "--log", str(file), *option)
        assert "3 keys; the largest (desk) gave 80% of the votes, counted as 80%\n" in whole.out
        assert len(read_outcomes(tmp_path / "whole")) == 100


def test_on_one_answer_keys_count_alike_however_often_they_vote() -> None:
    noisy = [{"rating": -1, "api_key": "a"}] * 9 + [{"rating": 1, "api_key": "b"}]
    (scored,) = from_traffic([decision("coder", feedback=noisy)]).scores
    assert scored.score == 0.5


def test_fit_evaluate_refit_is_a_loop(tmp_path: Path) -> None:
    # What was measured first says that the lawyer is better at everything.
    wrong = CHANCE | {("coding", "coder"): 0.1, ("coding", "lawyer"): 0.9}
    first = planted(30, 1, wrong)
    judged = planted(60, 3)
    before, evidence = fitted(first)
    seen = fitted_prompts(first.prompts)
    score_before = replay(before, evidence, judged, BagOfWords(), fitted=seen).score

    lived = planted(150, 2)
    router, random = Router(BagOfWords(), before), np.random.default_rng(0)
    log = []
    for row, prompt in enumerate(lived.prompts):
        routed = router.route(Request(f"dec_{row}", (Turn("user", prompt),)))
        # Half of the traffic is explored, so the log knows the expert that nobody would choose.
        expert = CARDS[int(random.integers(2))].name if random.random() < 0.5 else routed.expert
        score = float(lived.scores[row, lived.expert_names.index(expert)])
        message = {"role": "user", "content": prompt}
        log.append(
            decision(
                expert,
                id=row,
                category=lived.categories[row],
                messages=[message],
                feedback=[{"score": score}],
            )
        )
    made = gathered_table([from_traffic(log), from_table(first)], cards={each.name: each for each in CARDS})
    write_table(made, tmp_path / "lived")
    read = read_outcomes(tmp_path / "lived")
    assert len(read) == len(first) + len(lived)
    after, evidence = fitted(read)

    assert before.map["coding"] == "lawyer"
    assert dict(after.map) == {"coding": "coder", "law": "lawyer"}
    seen = fitted_prompts(read.prompts)
    found = replay(after, evidence, judged, BagOfWords(), fitted=seen)
    assert found.score > score_before + 0.2
    # What the refit learned from can no longer be reported on.
    assert screen(lived.prompts, seen).refused.all()


def test_a_table_survives_export_as_it_was(tmp_path: Path) -> None:
    table = planted(5, 1)
    table.scores[2, 1] = np.nan
    write_table(gathered_table([from_table(table)]), tmp_path)
    read = read_outcomes(tmp_path)
    assert read.prompts == table.prompts
    assert read.categories == table.categories
    assert [(each.name, each.params_b) for each in read.experts] == [("coder", 2.0), ("lawyer", 4.0)]
    assert np.array_equal(read.scores, table.scores, equal_nan=True)
    assert not list(tmp_path.glob("*.partial"))


def test_what_answers_took_survives_export_and_answers_count_by_their_number(tmp_path: Path) -> None:
    table = planted(2, 1)
    told = np.full_like(table.scores, 10.0)
    told[0, 1] = np.nan
    table = replace(table, tokens_in=told, tokens_out=2 * told, seconds=told, samples=told * 0 + 3)
    again = Scored(table.prompts[0], "coding", "coder", 1.0, took={"tokens_out": 60.0})
    write_table(gathered_table([from_table(table), Gathered((again,), {}, {})]), tmp_path)
    read = read_outcomes(tmp_path)
    assert read.tokens_in is not None and read.tokens_out is not None and read.samples is not None
    assert np.array_equal(read.tokens_in, told, equal_nan=True)
    assert read.tokens_out[0, 0] == pytest.approx((3 * 20 + 60) / 4)
    assert read.scores[0, 0] == pytest.approx((3 * table.scores[0, 0] + 1) / 4)
    assert read.samples[:2, 0].tolist() == [4, 3]
    assert (read.tokens_reasoning, read.spread) == (None, None)


def test_live_answers_and_shadows_tell_their_tokens_and_seconds() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 30}
    calls = [{"expert": "coder"}, {"expert": "lawyer"}]
    shadow = {"expert": "lawyer", "status": "ok", "usage": usage, "feedback": [{"score": 0.5}]}
    log = [
        decision("coder", usage=usage, latency_ms=1500, shadows=[shadow]),
        decision(
            "coder",
            id=1,
            usage={**usage, "calls": calls},
            messages=[{"role": "user", "content": "And this?"}],
        ),
    ]
    table = gathered_table([from_traffic(log)])
    assert table.tokens_out is not None and table.seconds is not None
    assert table.tokens_out[0].tolist() == [30, 30]
    assert np.isnan(table.tokens_out[1]).all()
    assert table.seconds[0, 0] == pytest.approx(1.5)
    assert np.isnan(table.seconds).sum() == 3


def test_the_same_prompt_is_one_row_and_its_scores_are_averaged() -> None:
    scores = (
        Scored("Sort a list.", "coding", "coder", 1.0),
        Scored("  sort a LIST", "coding", "coder", 0.0),
        Scored("Sort a list.", "law", "lawyer", 0.5),
    )
    cards = {each.name: each for each in CARDS}
    table = gathered_table([Gathered(scores, cards, {})])
    assert (len(table), table.categories) == (1, ("coding",))
    assert table.scores.tolist() == [[0.5, 0.5]]


def test_live_answers_and_their_shadows_count_when_they_were_rated() -> None:
    shadows = [
        {"expert": "lawyer", "status": "ok", "feedback": [{"score": 0.25}]},
        {"expert": "lawyer", "status": "dropped", "feedback": []},
    ]
    found = from_traffic(
        [
            decision("coder", id=1, shadows=shadows),
            decision("coder", id=2, feedback=[]),
            decision("coder", id=3, messages=None),
            decision("coder", id=4, strategy="panel"),
            decision("coder", id=5, category=None),
            decision("coder", id=6, status="error"),
        ]
    )
    assert found.scores == (
        Scored("Sort a list.", "coding", "coder", 1.0),
        Scored("Sort a list.", "coding", "lawyer", 0.25),
    )
    assert sum(found.left_out.values()) == 5
    assert found.left_out["not rated"] == 2
    assert found.cards["lawyer"].price_input is None


def test_nothing_scored_says_why() -> None:
    with pytest.raises(ExportError, match="text not kept"):
        gathered_table([from_traffic([decision("coder", messages=None)])])


def test_an_expert_of_unknown_size_is_named() -> None:
    scores = (Scored("Sort a list.", "coding", "stranger", 1.0),)
    with pytest.raises(ExportError, match=r"how large stranger is.*--experts"):
        gathered_table([Gathered(scores, {}, {})])
    known: Sequence[ExpertCard] = [replace(CARDS[0], name="stranger")]
    assert len(gathered_table([Gathered(scores, {}, {})], cards={each.name: each for each in known})) == 1


def test_only_the_named_experts_are_kept() -> None:
    table = gathered_table([from_table(planted(3, 1))], only=["coder"])
    assert table.expert_names == ("coder",)


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=str(tmp_path)):
        from_run(tmp_path)
