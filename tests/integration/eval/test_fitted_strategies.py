"""`coterie strategies fit` and `replay DIR TABLE`: policies are fitted into a composition's folder, are the
same objects when it is loaded, and are judged on a table that they have not seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.root import build
from app.operations.composition_fit import FitSource, fit_from_files
from eval.cli.strategies import app
from routers.composition import CompositionError, load_composition, save_composition
from routers.decide import decide
from routers.encoder import Encoder
from routers.fitting import FitOptions
from routers.request import Request, Turn
from routers.strategies import State, rollout
from routers.strategies.fitted_strategies import ARRAYS, FILE
from routers.strategy_fitting.category_choice import with_map
from routers.strategy_fitting.recorded_answers import read_recorded
from tests.unit.routers.strategy_fitting.planted import CARDS, table, write
from tests.unit.routers.world import card

FAMILIES = {"vote", "cascade", "panel", "stopping", "mixed"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(table(240, seed=1), tmp_path_factory.mktemp("tables") / "seen")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(table(240, seed=2), tmp_path_factory.mktemp("tables") / "new")


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory, seen: Path, encoder: Encoder) -> Path:
    """A composition of the planted experts."""
    folder = tmp_path_factory.mktemp("compositions") / "plain"
    options = FitOptions(correction=False)
    fit_from_files(FitSource(seen, CARDS, seeds=False), folder, encoder, options, report=False)
    return folder


@pytest.fixture(scope="module")
def fitted(composed: Path, seen: Path) -> Path:
    folder = composed.parent / "fitted"
    shutil.copytree(composed, folder)
    code, output = run("fit", seen, "--composition", folder, "--target", "18", "--within", "18")
    assert code == 0, output
    return folder


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, " ".join(done.output.split())


def test_each_family_is_fitted_and_is_the_same_policy_when_it_is_loaded_again(
    fitted: Path, new: Path, tmp_path: Path
) -> None:
    strategies = load_composition(fitted).strategies
    assert strategies is not None
    recorded = read_recorded(new)
    posterior = np.eye(2)[np.arange(len(recorded)) % 2]
    state = State.begin(posterior, np.tile(recorded.means, (len(recorded), 1)))
    save_composition(load_composition(fitted), tmp_path / "again")
    again = load_composition(tmp_path / "again").strategies

    assert again is not None
    assert {each.name for each in strategies.policies} == FAMILIES
    for one, other in zip(strategies.policies, again.policies, strict=True):
        assert one.id == other.id
        mine, theirs = rollout(one.policy, state, recorded), rollout(other.policy, state, recorded)
        assert np.array_equal(mine.order, theirs.order) and np.array_equal(mine.answer, theirs.answer)
        assert one.evidence.cost <= 18 * (1 + 1e-9)


def test_several_experts_are_chosen_where_they_beat_one(fitted: Path) -> None:
    composition = load_composition(fitted)

    assert set(composition.policy.strategies) == set(composition.categories)
    choice = composition.manifest["strategy_choice"]
    assert choice["score"] > choice["single_score"] and choice["cost"] <= 18


def test_a_replay_judges_each_policy_on_prompts_that_it_has_not_seen(
    fitted: Path, new: Path, tmp_path: Path
) -> None:
    code, output = run("replay", fitted, new, "--json", tmp_path / "out.json")

    assert code == 0, output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["n"] == 240 and found["left_out"] == {"fitted_on": 0, "unscored": 0}
    by_name = {each["name"]: each for each in found["policies"]}
    assert set(by_name) == FAMILIES | {"composition"}
    for each in found["policies"]:
        assert {"name", "within", "score", "active_params_b", "calls"} <= each.keys()
    assert by_name["stopping"]["score"] > found["baselines"]["best_single"]
    assert {"random", "single", "best_single", "knn", "kmeans", "oracle"} <= found["baselines"].keys()


def test_a_fit_with_strategies_is_a_fit_and_then_their_fit(fitted: Path, seen: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["fit", seen, "--out", out, "--no-seeds", "--no-correction", "--no-report", "--strategies"]
    words += ["--target-active-b", "18", "--profile", "tiny", "--cache", tmp_path / "cache"]

    done = CliRunner().invoke(build(), [str(word) for word in words])

    assert done.exit_code == 0, done.output
    found = load_composition(out)
    assert found.strategies is not None
    assert set(found.policy.strategies) == set(load_composition(fitted).policy.strategies)
    assert all(name in done.output for name in found.policy.strategies.values())


@pytest.mark.parametrize("on_a_table", [False, True])
def test_the_curve_is_over_one_expert_and_strategies(
    fitted: Path, new: Path, on_a_table: bool, tmp_path: Path
) -> None:
    words = ["curve", fitted, *([new] if on_a_table else []), "--json", tmp_path / "curve.json"]
    done = CliRunner().invoke(build(), [str(word) for word in words])

    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "curve.json").read_text())
    assert {each["strategy"].split("@")[0] for each in found["strategies"]} == FAMILIES
    assert "strategy" in found["hull"][-1], "voting beats every choice of one expert here"


def test_prompts_that_were_fitted_on_are_left_out(fitted: Path, seen: Path, tmp_path: Path) -> None:
    code, output = run("replay", fitted, seen)
    assert code == 1
    assert "240 were fitted on" in output
    code, output = run("replay", fitted, seen, "--allow-seen", "--json", tmp_path / "out.json")
    assert code == 0, output
    assert json.loads((tmp_path / "out.json").read_text())["n"] == 240


def test_without_a_budget_policies_are_kept_and_none_is_chosen(
    composed: Path, seen: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "composition"
    shutil.copytree(composed, folder)

    code, output = run("fit", seen, "--composition", folder, "--within", "30", "--most", "2")

    assert code == 0, output
    assert "give --target" in output
    found = load_composition(folder)
    assert found.strategies is not None and not found.policy.strategies
    assert (folder / "seen.safetensors").exists(), "what lay beside it is kept"


def test_strategies_of_other_experts_are_refused(fitted: Path, tmp_path: Path) -> None:
    composition = load_composition(fitted)
    experts = (card("another", 2.0), *composition.experts[1:])
    save_composition(replace(composition, experts=experts), tmp_path / "renamed")

    with pytest.raises(CompositionError, match=r"fitted on other experts .*strategies fit"):
        load_composition(tmp_path / "renamed")


def test_a_changed_file_of_strategies_is_refused(fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(fitted, folder)
    (folder / FILE).write_text((folder / FILE).read_text().replace('"format": 1', '"format": 2'))

    with pytest.raises(CompositionError, match="digest"):
        load_composition(folder)


def test_every_file_of_strategies_needs_a_digest(fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "undigested"
    shutil.copytree(fitted, folder)
    manifest = json.loads((folder / "composition.json").read_text())
    del manifest["files"][ARRAYS]
    (folder / "composition.json").write_text(json.dumps(manifest))

    with pytest.raises(CompositionError, match="no digest of strategies"):
        load_composition(folder)


def test_a_strategy_for_all_is_judged_as_the_composition(fitted: Path, new: Path, tmp_path: Path) -> None:
    composition = load_composition(fitted)
    policy = replace(composition.policy, strategies={}, strategy="stopping")
    save_composition(replace(composition, policy=policy), tmp_path / "for-all")

    code, output = run("replay", tmp_path / "for-all", new, "--allow-seen", "--json", tmp_path / "out.json")

    assert code == 0, output
    found = {each["name"]: each for each in json.loads((tmp_path / "out.json").read_text())["policies"]}
    for figure in ("score", "active_params_b", "calls"):
        assert found["composition"][figure] == found["stopping"][figure]


def test_what_a_choice_was_to_gain_goes_with_the_choice(fitted: Path) -> None:
    composition = load_composition(fitted)
    assert "strategy_choice" in composition.manifest

    assert "strategy_choice" not in with_map(composition, None, "active").manifest


def test_a_decision_says_what_the_strategy_of_its_category_is_to_gain(fitted: Path) -> None:
    composition = load_composition(fitted)
    name = composition.policy.strategies["law"]
    found = composition.manifest["strategy_choice"]["by_category"]["law"]
    asked = Request("dec_1", (Turn("user", "court"),), pinned_category="law")

    decision = decide(asked, composition, composition.policy)

    assert found["single_score"] < found["score"] <= 1
    assert decision.strategy == name
    assert decision.strategy_detail == (
        f"The composition answers law with {name}: {found['score']:.2f} expected at "
        f"{found['active_params_b']:.3g} B, one expert {found['single_score']:.2f}."
    )


def test_a_table_without_an_expert_of_the_composition_is_refused(
    composed: Path, new: Path, tmp_path: Path
) -> None:
    write(table(240, seed=3), tmp_path / "table")
    (tmp_path / "table" / "experts.yaml").write_text(
        "".join(["experts:\n", *(f"- {{name: {each.name}, params_b: 2}}\n" for each in CARDS[:-1])])
    )

    code, output = run("fit", tmp_path / "table", "--composition", composed)

    assert code == 1
    assert "big" in output


def test_prompts_that_are_not_scored_for_every_expert_are_left_out_and_too_few_are_refused(
    composed: Path, tmp_path: Path
) -> None:
    whole = table(240, seed=1)
    scores = whole.table.scores.copy()
    scores[:100, 0] = np.nan
    partly = write(replace(whole, table=replace(whole.table, scores=scores)), tmp_path / "partly")
    folder = tmp_path / "composition"
    shutil.copytree(composed, folder)
    assert run("fit", partly, "--composition", folder, "--within", "18")[0] == 0
    fitted_on = load_composition(folder).strategies
    assert fitted_on is not None and fitted_on.prompts == 140

    scores[:150, 0] = np.nan
    partly = write(replace(whole, table=replace(whole.table, scores=scores)), tmp_path / "fewer")
    code, output = run("fit", partly, "--composition", folder, "--within", "18")

    assert code == 1
    assert "90 of 240 prompts are scored for every expert" in output and "cheap has 90 scores" in output


def test_each_budget_that_is_asked_for_has_its_policies(composed: Path, seen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "composition"
    shutil.copytree(composed, folder)

    assert run("fit", seen, "--composition", folder, "--within", "60", "--within", "90")[0] == 0

    strategies = load_composition(folder).strategies
    assert strategies is not None
    assert {each.id for each in strategies.policies} == {
        f"{name}@{within}b" for name in FAMILIES for within in (60, 90)
    }


def test_a_folder_without_strategies_is_told_how_to_get_them(composed: Path, new: Path) -> None:
    code, output = run("replay", composed, new)

    assert code == 1
    assert "coterie strategies fit" in output


def test_a_target_that_nothing_meets_names_the_least(composed: Path, seen: Path) -> None:
    code, output = run("fit", seen, "--composition", composed, "--target", "0.5", "--within", "30")

    assert code == 1
    assert "the least is" in output


def test_an_unknown_cost_is_refused_with_the_experts(composed: Path, seen: Path) -> None:
    code, output = run("fit", seen, "--composition", composed, "--by", "cost")

    assert code == 1
    assert "tokens" in output or "price" in output
