"""Off-policy estimates on planted traffic: they find the truth where the log's plain mean does not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from eval.offpolicy import (
    Estimated,
    OffPolicyError,
    always,
    as_decided,
    composition_target,
    evaluate,
    usable,
    weighing,
)
from eval.traffic import Logged, TrafficError, read_traffic
from routers.classifiers import CentroidClassifier
from routers.features import features_of
from routers.policy import Policy
from tests.unit.routers.world import BagOfWords, card, composition

EXPERTS = ("coder", "lawyer", "tiny")
SIZES = {"coder": 7.0, "lawyer": 70.0, "tiny": 1.0}
TRUTH = {"coding": (0.8, 0.5, 0.3), "law": (0.2, 0.9, 0.3)}
"""What each expert really scores."""
BELIEVED = {"coding": (0.6, 0.7, 0.3), "law": (0.3, 0.6, 0.4)}
"""What the log's router expects: wrong, so that it sends everything to the lawyer."""
PERFECT = {"coding": "coder", "law": "lawyer"}
PROMPTS = {"coding": "function loop compile bug", "law": "contract court tenant clause"}


def traffic(count: int, rate: float, seed: int = 0, *, text: bool = False) -> list[Logged]:
    """`count` decisions, two thirds of them coding, explored at `rate`, all rated by what is planted."""
    random = np.random.default_rng(seed)
    log = []
    for number in range(count):
        category = "coding" if random.random() < 2 / 3 else "law"
        believed = BELIEVED[category]
        greedy = EXPERTS[int(np.argmax(believed))]
        drawn = EXPERTS[int(random.integers(3))] if random.random() < rate else greedy
        right = random.random() < TRUTH[category][EXPERTS.index(drawn)]
        document: dict[str, Any] = {
            "id": f"dec_{number}",
            "classification": "classified",
            "category": category,
            "ranking": [
                {"expert": name, "utility": utility, "active_params_b": SIZES[name]}
                for name, utility in zip(EXPERTS, believed, strict=True)
            ],
            "expert": drawn,
            "explored_from": None if drawn == greedy else greedy,
            "propensity": rate / 3 + (1 - rate) * (drawn == greedy),
            "feedback": [{"rating": 1 if right else -1}],
        }
        if text:
            document["messages"] = [{"role": "user", "content": PROMPTS[category]}]
        log.append(Logged.model_validate(document))
    return log


def perfect(logged: Logged) -> str | None:
    return PERFECT[logged.category or ""]


def truth_of(log: list[Logged]) -> float:
    """What the perfect map really scores on these requests."""
    scores = [TRUTH[each.category or ""][EXPERTS.index(PERFECT[each.category or ""])] for each in log]
    return float(np.mean(scores))


def covers(estimated: Estimated, value: float) -> bool:
    return estimated.low <= value <= estimated.high


def test_the_intervals_cover_the_truth_and_the_plain_mean_does_not() -> None:
    log = traffic(4000, 0.3)
    report = evaluate(log, {"perfect": perfect})
    truth = truth_of(log)
    (found,) = report.policies
    assert covers(found.ips, truth)
    assert covers(found.snips, truth)
    assert covers(found.doubly_robust, truth)
    assert not covers(report.naive, truth)
    assert found.doubly_robust.high - found.doubly_robust.low < found.ips.high - found.ips.low
    assert abs(found.model - truth) > 0.1
    assert found.warnings == ()


def test_intervals_cover_as_often_as_they_say() -> None:
    covered = {"ips": 0, "snips": 0, "doubly_robust": 0}
    for seed in range(25):
        log = traffic(500, 0.4, seed + 100)
        (found,) = evaluate(log, {"perfect": perfect}, rounds=200).policies
        truth = 2 / 3 * 0.8 + 1 / 3 * 0.9
        for kind in covered:
            covered[kind] += covers(getattr(found, kind), truth)
    assert min(covered.values()) >= 21


def test_the_logs_own_policy_is_estimated_too_and_overlaps_most() -> None:
    log = traffic(3000, 0.2)
    report = evaluate(log, {"as it was decided": as_decided, "always tiny": always("tiny")})
    own, tiny = report.policies
    assert covers(own.doubly_robust, 2 / 3 * 0.5 + 1 / 3 * 0.9)
    assert covers(tiny.doubly_robust, 0.3)
    assert own.effective > 10 * tiny.effective
    assert (tiny.active_params_b, own.active_params_b) == (1.0, 70.0)


def test_another_weight_needs_no_text() -> None:
    log = traffic(3000, 0.3)
    (found,) = evaluate(log, {"weight": weighing(0.01)}).policies
    # At .01 a billion the lawyer costs .7, so the coder takes coding and the tiny one law.
    assert covers(found.doubly_robust, 2 / 3 * 0.8 + 1 / 3 * 0.3)
    assert found.active_params_b == pytest.approx(2 / 3 * 7 + 1 / 3, abs=0.2)


def test_another_composition_reads_the_requests() -> None:
    log = traffic(1500, 0.4, text=True)
    prompts = [f"{words} {number}" for number in range(6) for words in PROMPTS.values()]
    features = features_of(BagOfWords(), prompts)
    better = composition(
        [card(name, SIZES[name]) for name in EXPERTS],
        [TRUTH["coding"], TRUTH["law"]],
        Policy("lawyer", threshold=0.0),
        stage1=CentroidClassifier.fit(features, np.asarray([0, 1] * 6), 2),
        categories=("coding", "law"),
        prototypes=features[:2, :384],
    )
    (found,) = evaluate(log, {"better": composition_target(better, BagOfWords())}).policies
    assert found.agrees < 0.5
    assert covers(found.doubly_robust, truth_of(log))


def test_a_composition_cannot_be_estimated_where_no_text_is_kept() -> None:
    log = traffic(50, 0.5)
    silent = composition_target(composition(), BagOfWords())
    with pytest.raises(OffPolicyError, match="COTERIE_STORE_PROMPTS"):
        evaluate(log, {"other": silent})


def test_too_little_overlap_is_warned_of() -> None:
    (found,) = evaluate(traffic(300, 0.03), {"always tiny": always("tiny")}).policies
    assert found.effective < 20
    assert any("too little overlap" in warning for warning in found.warnings)


def test_wrong_propensities_are_noticed() -> None:
    log = [each.model_copy(update={"propensity": 0.2}) for each in traffic(2000, 0.3)]
    (found,) = evaluate(log, {"as it was decided": as_decided}).policies
    assert any("mean weight" in warning for warning in found.warnings)


def test_experts_that_could_not_answer_are_unsupported() -> None:
    log = traffic(200, 0.5)
    ranking = tuple(
        each.model_copy(update={"excluded": "it lacks vision"}) if each.expert == "tiny" else each
        for each in log[0].ranking
    )
    log = [
        each.model_copy(update={"ranking": ranking}) if number < 50 else each
        for number, each in enumerate(log)
    ]
    kept = [each for each in log if each.expert != "tiny"]
    (found,) = evaluate(kept, {"always tiny": always("tiny")}).policies
    assert found.unsupported == sum(each.ranking == ranking for each in kept)
    assert any("could not have gone" in warning for warning in found.warnings)


def test_what_says_nothing_of_chances_is_left_out_and_counted() -> None:
    one = traffic(1, 0.5)[0]
    log = [
        one,
        one.model_copy(update={"propensity": None}),
        one.model_copy(update={"feedback": ()}),
        one.model_copy(update={"status": "error"}),
        one.model_copy(update={"strategy": "panel"}),
        one.model_copy(update={"spilled_from": "coder"}),
    ]
    kept, why = usable(log)
    assert len(kept) == 1
    assert sorted(why.values()) == [1, 1, 1, 2]
    with pytest.raises(OffPolicyError, match="COTERIE_EXPLORE"):
        evaluate(log[1:], {"always tiny": always("tiny")})


def test_the_log_is_read_from_lines_a_page_and_parquet(tmp_path: Path) -> None:
    log = traffic(5, 0.5, text=True)
    rows = [each.model_dump(mode="json") for each in log]
    lines = tmp_path / "log.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"object": "list", "data": rows}))
    dumped = [
        {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    ]
    parquet.write_table(pa.Table.from_pylist(dumped), tmp_path / "log.parquet")
    for path in (lines, page, tmp_path / "log.parquet"):
        assert read_traffic(path) == tuple(log)


def test_a_line_that_is_no_decision_is_named_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": "dec_1", "expert": "coder", "propensity": 7, "messages": ["secret"]}\n')
    with pytest.raises(TrafficError, match=r"log\.jsonl:1: ") as raised:
        read_traffic(path)
    assert "secret" not in str(raised.value)
    path.write_text("secret\n")
    with pytest.raises(TrafficError, match="not JSON"):
        read_traffic(path)
    path.write_text("")
    with pytest.raises(TrafficError, match="no decisions"):
        read_traffic(path)


def test_the_same_log_and_seed_give_the_same_figures() -> None:
    log = traffic(300, 0.4)
    targets = {"perfect": perfect}
    assert asdict(evaluate(log, targets)) == asdict(evaluate(log, targets))
