"""The compositions we ship load, hold what they promise, and can be fitted anew from files."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from app.operations.composition_fit import CHOICES, FitSource, fit_from_files
from app.serving.routing import expert_card
from experts.registry import load_registry
from prompts.seeds import load_categories, load_seeds
from routers.composition import CompositionError, load_composition
from routers.decision import Decision, Reason
from routers.encoder import OnnxEncoder
from routers.evidence import load_evidence
from routers.fitting import FitOptions
from routers.request import Request, Turn
from routers.router import Router
from tests.integration.routers.reference import DECISIONS, decisions

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ("cpu", "tiny")

shipped = pytest.mark.parametrize("profile", SHIPPED)


def folder(profile: str) -> Path:
    return ROOT / "routers" / "compositions" / profile


def ask(router: Router, text: str) -> Decision:
    return router.route(Request("r", (Turn("user", text),)))


@shipped
def test_it_loads_verified_and_covers_every_category(profile: str) -> None:
    composition = load_composition(folder(profile))
    assert set(composition.categories) - {CHOICES} == {category.name for category in load_categories()}
    assert set(composition.map) == set(composition.categories)
    assert np.isfinite(composition.utilities).all()
    assert composition.utilities.min() >= 0
    assert composition.utilities.max() <= 1


@shipped
def test_its_experts_are_in_the_registry_of_its_profile(profile: str) -> None:
    registry = load_registry(ROOT / "experts" / f"{profile}.yaml")
    composition = load_composition(folder(profile))
    live = composition.with_cards([expert_card(each) for each in registry.experts.values()])
    assert live.expert_names == composition.expert_names
    for card in live.experts:
        assert card.base == registry.get(card.name).base


@shipped
def test_it_was_fitted_with_the_encoder_that_serves(profile: str, int8: OnnxEncoder) -> None:
    router = Router(int8, load_composition(folder(profile)))
    decision = ask(router, "Write a Python function that reverses a linked list.")
    assert decision.category == "coding"
    assert decision.expert in router.composition.expert_names
    assert sum(choice.excluded is None for choice in decision.ranking) > 0


@shipped
def test_another_encoder_is_refused(profile: str, float32: OnnxEncoder) -> None:
    with pytest.raises(CompositionError, match="fitted with the encoder"):
        Router(float32, load_composition(folder(profile)))


def test_clear_requests_are_put_where_people_would_put_them(int8: OnnxEncoder) -> None:
    router = Router(int8, load_composition(folder("cpu")))
    plain = {
        "Hi! How are you today?": "smalltalk",
        "Fix the off-by-one error in this C loop: for (int i = 0; i <= n; i++) sum += a[i];": "coding",
        "Translate 'good morning, where is the station?' into French.": "languages",
        "What is the integral of x^2 * sin(x)?": "math",
        "My landlord kept my deposit without a reason. Can I take him to small claims court?": "law",
        "I have had a sore throat and a fever for three days. What could it be?": "health",
    }
    found = {text: ask(router, text).category for text in plain}
    assert sum(found[text] == category for text, category in plain.items()) >= 5, found


def test_decisions_are_those_stored_by_another_machine(int8: OnnxEncoder) -> None:
    assert decisions(int8) == json.loads(DECISIONS.read_text(encoding="utf-8"))


def test_a_decision_does_not_depend_on_what_was_asked_before(int8: OnnxEncoder) -> None:
    router = Router(int8, load_composition(folder("cpu")))
    texts = [seed.prompt for seed in load_seeds("test")[::40]]
    forwards = [ask(router, text) for text in texts]
    assert [ask(router, text) for text in reversed(texts)] == forwards[::-1]


def test_when_it_is_sure_it_is_right_more_often_and_it_is_neither_always_nor_never_sure(
    int8: OnnxEncoder,
) -> None:
    router = Router(int8, load_composition(folder("cpu")))
    seeds = load_seeds("test")[::2]
    decisions = [ask(router, seed.prompt) for seed in seeds]
    right = np.asarray(
        [d.category in (seed.category, CHOICES) for d, seed in zip(decisions, seeds, strict=True)]
    )
    sure = np.asarray([decision.reason is Reason.MATCHED for decision in decisions])
    assert 0.5 < sure.mean() < 0.98
    assert right[sure].mean() > 0.8
    assert right[sure].mean() > right[~sure].mean() + 0.2
    generalist = router.composition.policy.generalist
    unsure = {decision.expert for decision in decisions if decision.reason is Reason.UNCERTAIN}
    assert unsure == {generalist}


def test_fitting_from_files_makes_a_composition_that_serves(int8: OnnxEncoder, tmp_path: Path) -> None:
    seeds = load_seeds("fit")[::8]
    table = tmp_path / "table"
    table.mkdir()
    uids = [seed.id for seed in seeds]
    codes = [float(seed.category == "coding") for seed in seeds]
    pq.write_table(
        pa.table({"uid": uids, "category": [s.category for s in seeds], "prompt": [s.prompt for s in seeds]}),
        table / "prompts.parquet",
    )
    # The coder is right about code and nothing else; the generalist half the time, about everything.
    pq.write_table(
        pa.table({"uid": uids, "coder": codes, "generalist": [0.5] * len(uids)}), table / "scores.parquet"
    )
    cards = [{"name": "coder", "params_b": 1.5}, {"name": "generalist", "params_b": 7}]
    (table / "experts.yaml").write_text(yaml.safe_dump({"experts": cards}))
    told: list[tuple[str, int, int]] = []
    made = fit_from_files(
        FitSource(table, cards=[]),
        tmp_path / "out",
        int8,
        FitOptions(classifier="centroid", jobs=1),
        cache=tmp_path / "cache",
        step=lambda what, done, total: told.append((what, done, total)),
    )
    assert made.map["coding"] == "coder"
    assert set(made.map.values()) == {"coder", "generalist"}
    assert ("reading prompts", len(load_seeds("fit")), len(load_seeds("fit"))) in told
    assert ("reading prompts", len(seeds), len(seeds)) in told
    assert "no tokens are known" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert len(load_evidence(tmp_path / "out")) == len(seeds)
    router = Router(int8, load_composition(tmp_path / "out"))
    assert ask(router, "Why does my Python list comprehension raise a NameError?").category == "coding"
    pinned = Request("r", (Turn("user", "Hello"),), pinned_category="coding")
    assert router.route(pinned).expert == "coder"
    unseen = load_seeds("test")[::4]
    assert np.mean([ask(router, seed.prompt).category == seed.category for seed in unseen]) > 0.55
