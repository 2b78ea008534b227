"""A composition comes back as it was written, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from routers import format_features
from routers.classifiers import CLASSIFIERS, KnnClassifier
from routers.composition import (
    ARRAYS,
    MANIFEST,
    Composition,
    CompositionError,
    ExpertCard,
    load_composition,
    save_composition,
)
from routers.correction import Correction, Projection
from routers.decide import decide
from routers.encoder import DIMENSION
from routers.fitting.trees import grow
from routers.policy import Policy, Rule
from routers.request import Capability
from tests.unit.routers.world import CODER, LARGE, SMALL, card, composition, request

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(30, DIMENSION)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
LABELS = np.arange(30) % 3
TWO_CATEGORIES = {"weights": ROWS[:2], "bias": np.zeros((1, 2), dtype=np.float32)}


@cache
def with_classifier(name: str) -> Composition:
    stage1 = CLASSIFIERS[name].fit(ROWS, LABELS, 3)
    return composition(name=name, stage1=stage1, prototypes=ROWS[:5], manifest={"held_out": {"ece": 0.03}})


@pytest.fixture(params=sorted(CLASSIFIERS))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Composition, Path]:
    """A composition with each of the classifiers, and the folder that holds it."""
    made = with_classifier(request.param)
    save_composition(made, tmp_path / "c")
    return made, tmp_path / "c"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_it_comes_back_whole(written: tuple[Composition, Path]) -> None:
    made, folder = written
    read = load_composition(folder)
    assert (read.categories, read.experts, read.policy) == (made.categories, made.experts, made.policy)
    assert (read.encoder, read.encoder_revision) == (made.encoder, made.encoder_revision)
    assert (read.classifier_name, read.temperature) == (made.classifier_name, made.temperature)
    for name in ("utilities", "errors", "counts", "global_utilities"):
        assert np.array_equal(getattr(read, name), getattr(made, name)), name
    assert np.array_equal(read.classifier.logits(ROWS), made.classifier.logits(ROWS))
    assert np.array_equal(read.novelty.scores(ROWS), made.novelty.scores(ROWS))
    assert read.manifest["held_out"] == {"ece": 0.03}


def test_it_decides_as_before(written: tuple[Composition, Path]) -> None:
    made, folder = written
    read = load_composition(folder)
    for row in ROWS[:5]:
        before, after = decide(request(row), made, made.policy), decide(request(row), read, read.policy)
        assert (after.expert, after.reason, after.category) == (before.expert, before.reason, before.category)
        assert after.probability == pytest.approx(before.probability, abs=1e-6)


def test_the_same_composition_has_the_same_digest(written: tuple[Composition, Path], tmp_path: Path) -> None:
    made, folder = written
    again = save_composition(made, tmp_path / "again")
    assert again == load_composition(folder).digest == load_composition(tmp_path / "again").digest
    assert save_composition(load_composition(folder), tmp_path / "third") == again


def test_another_composition_has_another_digest(tmp_path: Path) -> None:
    made = composition()
    other = replace(made, policy=replace(made.policy, threshold=0.51))
    assert save_composition(made, tmp_path / "a") != save_composition(other, tmp_path / "b")


def test_the_manifest_can_be_read_by_people(written: tuple[Composition, Path]) -> None:
    manifest = json.loads((written[1] / MANIFEST).read_text())
    assert manifest["map"] == {"coding": "coder", "law": "large", "smalltalk": "small"}
    assert manifest["utilities"]["law"] == {"small": 0.1, "coder": 0.2, "large": 0.9}
    assert manifest["policy"]["generalist"] == "large"


def test_a_changed_composition_that_is_written_again_says_what_it_now_is(tmp_path: Path) -> None:
    save_composition(composition(), tmp_path / "c")
    read = load_composition(tmp_path / "c")
    frugal = replace(read, policy=replace(read.policy, active_weight=0.02, generalist="coder"))
    save_composition(frugal, tmp_path / "c")
    back = load_composition(tmp_path / "c")
    assert back.policy == frugal.policy
    assert back.manifest["map"]["law"] == "coder" == back.map["law"]


def test_no_file_of_it_is_a_pickle(written: tuple[Composition, Path]) -> None:
    _, folder = written
    names = {path.name for path in folder.iterdir()}
    assert names <= {MANIFEST, ARRAYS, "index.faiss"}
    assert all(b"\x80\x04\x95" not in path.read_bytes()[:64] for path in folder.iterdir())


def test_others_may_read_what_one_user_fitted(written: tuple[Composition, Path]) -> None:
    modes = {path.stat().st_mode & 0o777 for path in written[1].iterdir()}
    assert len(modes) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_is_refused_or_gives_it_another_name(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from(sorted(CLASSIFIERS)))
    folder = tmp_path_factory.mktemp("flip") / "c"
    digest = save_composition(with_classifier(name), folder)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    if path.name == MANIFEST:
        try:
            assert load_composition(folder).digest != digest
        except CompositionError as refusal:
            assert str(refusal)
    else:
        with pytest.raises(CompositionError, match=rf"{path.name} does not have the digest"):
            load_composition(folder)


def test_a_cut_file_is_refused(written: tuple[Composition, Path]) -> None:
    _, folder = written
    (folder / ARRAYS).write_bytes((folder / ARRAYS).read_bytes()[:-1])
    with pytest.raises(CompositionError, match=r"arrays\.safetensors"):
        load_composition(folder)


def test_a_missing_file_is_named(written: tuple[Composition, Path]) -> None:
    _, folder = written
    (folder / ARRAYS).unlink()
    with pytest.raises(CompositionError, match=r"arrays\.safetensors: No such file"):
        load_composition(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "/etc/hostname", "a/b", "..\\secret", "", "sub", "a\n", ".hidden"]
)
def test_a_manifest_cannot_reach_out_of_its_folder(tmp_path: Path, name: str) -> None:
    save_composition(composition(), tmp_path / "c")
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "c" / "sub").mkdir()
    edit(tmp_path / "c", lambda manifest: manifest["files"].update({name: "0" * 64}))
    with pytest.raises(CompositionError):
        load_composition(tmp_path / "c")


def test_a_manifest_cannot_leave_a_file_unverified(tmp_path: Path) -> None:
    save_composition(with_classifier("knn"), tmp_path / "c")
    edit(tmp_path / "c", lambda manifest: manifest["files"].pop("index.faiss"))
    with pytest.raises(CompositionError, match=r"no digest of index\.faiss"):
        load_composition(tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("experts"),
        lambda m: m.update(files=[]),
        lambda m: m.update(format=99),
        lambda m: m.update(features=99),
        lambda m: m["classifier"].update(name="oracle"),
        lambda m: m["classifier"].update(temperature=0),
        lambda m: m["classifier"].update(temperature="warm"),
        lambda m: m["policy"].update(generalist="nobody"),
        lambda m: m["policy"].update(threshold=2),
        lambda m: m["policy"].update(threshold="high"),
        lambda m: m["policy"].update(colour="blue"),
        lambda m: m["experts"].pop(),
        lambda m: m["experts"][0].update(capabilities=["flying"]),
        lambda m: m["categories"].append("more"),
    ],
)
def test_an_impossible_manifest_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    save_composition(composition(), tmp_path / "c")
    edit(tmp_path / "c", change)
    with pytest.raises(CompositionError):
        load_composition(tmp_path / "c")


def repack(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the arrays and what the manifest says of their digest, as another version would write them."""
    arrays = dict(load_file(folder / ARRAYS))
    content = change(arrays)
    (folder / ARRAYS).write_bytes(content if isinstance(content, bytes) else save(arrays))
    digest = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    edit(folder, lambda manifest: manifest["files"].update({ARRAYS: digest}))


def corrected() -> Composition:
    """A composition with a correction of all three experts: forest and projection."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(60, 2 + format_features.COUNT + 3)).astype(np.float32)
    grown = grow(inputs, random.normal(size=(60, 3)).astype(np.float32), trees=2, seed=0, cores=1)
    projection = Projection(np.eye(4, 2, dtype=np.float32), np.zeros(4, dtype=np.float32))
    forest, means = grown.forest, np.zeros(3, dtype=np.float32)
    return composition(correction=Correction(projection, forest, np.eye(3, dtype=np.float32), means))


def short(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.update({name: np.ascontiguousarray(arrays[name][:-1])})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: a.update({"correction.weights": ROWS[:3]}), "correction.weights is unknown"),
        # Corrections of older versions had a kernel regression: without it they would predict something else.
        (lambda a: a.update({"correction.kernel.weights": ROWS[:3]}), "correction.kernel.weights is unknown"),
        (lambda a: a.update(utilities_by_length=ROWS[:3]), "utilities_by_length is unknown"),
        (lambda a: a.pop("errors"), "errors is missing"),
        (lambda a: a.pop("correction.category"), "category is missing"),
        (lambda a: a.pop("correction.projection.mean"), "projection.mean is missing"),
        (lambda a: a.pop("correction.forest.values"), "values is missing"),
        (short("utilities"), r"utilities has shape \(2, 3\), the manifest says \(3, 3\)"),
        (short("global_utilities"), "global_utilities has shape"),
        (short("classifier.bias"), "weights and bias do not agree"),
        (lambda a: a.update({"novelty.quantiles": a["novelty.quantiles"][::-1].copy()}), "do not rise"),
        (short("novelty.quantiles"), "are not 101"),
        (lambda a: a.update({"novelty.prototypes": a["novelty.prototypes"].ravel()}), "are no rows"),
        (lambda a: a.update(counts=a["counts"] * np.float32("nan")), "counts holds what is no number"),
        (short("correction.means"), ""),
        (short("correction.projection.components"), ""),
        (short("correction.forest.threshold"), "the forest"),
        (
            lambda a: a.update({"correction.forest.feature": a["correction.forest.feature"] + 10_000}),
            "columns",
        ),
        (
            lambda a: a.update({"correction.means": np.zeros(4, dtype=np.float32)}),
            "of 4 experts, there are 3",
        ),
        (lambda a: b"no arrays at all", "header"),
    ],
)
def test_arrays_of_another_layout_are_refused_with_what_to_do(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], what: str
) -> None:
    save_composition(corrected(), tmp_path / "c")
    assert load_composition(tmp_path / "c").correction is not None
    repack(tmp_path / "c", change)
    with pytest.raises(CompositionError, match=rf"arrays\.safetensors does not hold .*{what}.*fit it again"):
        load_composition(tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("centroid", short("classifier.scales")),
        ("centroid", lambda a: a.update({"classifier.scales": a["classifier.scales"][:, :-1].copy()})),
        ("knn", short("classifier.labels")),
        ("knn", short("classifier.copies")),
        ("knn", lambda a: a.update({"classifier.copies": a["classifier.copies"] * 0})),
        ("knn", lambda a: a.update({"classifier.labels": a["classifier.labels"] + 9})),
        ("knn", lambda a: a.update({"classifier.categories": np.asarray([4], dtype=np.float32)})),
        ("logistic", lambda a: a.update({f"classifier.{k}": v for k, v in TWO_CATEGORIES.items()})),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    save_composition(with_classifier(name), tmp_path / "c")
    repack(tmp_path / "c", change)
    with pytest.raises(CompositionError, match=r"the classifier.*fit it again"):
        load_composition(tmp_path / "c")


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save_composition(with_classifier("knn"), folder)
    (folder / "index.faiss").write_bytes(b"no index")
    digest = hashlib.sha256(b"no index").hexdigest()
    edit(folder, lambda manifest: manifest["files"].update({"index.faiss": digest}))
    with pytest.raises(CompositionError, match=r"index\.faiss.*fit it again"):
        load_composition(folder)


def test_an_index_is_mapped_and_survives_a_newer_composition_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save_composition(with_classifier("knn"), folder)
    loaded = load_composition(folder)
    asked = np.random.default_rng(0).normal(size=(3, DIMENSION)).astype(np.float32)
    before = loaded.classifier.logits(asked)
    assert str(folder / "index.faiss") in Path("/proc/self/maps").read_text()
    save_composition(with_classifier("logistic"), folder)
    assert np.array_equal(loaded.classifier.logits(asked), before)


def test_an_index_without_counts_of_copies_is_read_as_one_of_single_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save_composition(with_classifier("knn"), folder)
    repack(folder, lambda arrays: arrays.pop("classifier.copies"))
    loaded = load_composition(folder).classifier
    assert isinstance(loaded, KnnClassifier)
    assert (loaded.copies == 1).all()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"composition"', "{}", "\ufeff{}"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(CompositionError, match="is not a composition"):
        load_composition(tmp_path)


def test_an_absent_composition_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CompositionError, match="coterie fit"):
        load_composition(tmp_path / "nowhere")


def test_a_folder_with_something_else_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CompositionError, match="choose another folder"):
        save_composition(composition(), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_writing_again_replaces_the_old_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save_composition(with_classifier("knn"), tmp_path / "c")
    save_composition(with_classifier("logistic"), tmp_path / "c")
    assert load_composition(tmp_path / "c").classifier_name == "logistic"
    assert not (tmp_path / "c" / "index.faiss").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_failed_write_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    digest = save_composition(composition(), tmp_path / "c")
    unwritable = replace(composition(), manifest={"held_out": object()})
    with pytest.raises(TypeError):
        save_composition(unwritable, tmp_path / "c")
    assert load_composition(tmp_path / "c").digest == digest
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_not_written(tmp_path: Path, figure: float) -> None:
    digest = save_composition(composition(), tmp_path / "c")
    with pytest.raises(CompositionError, match=r"^held_out\.ece is no number"):
        save_composition(replace(composition(), manifest={"held_out": {"ece": figure}}), tmp_path / "c")
    assert load_composition(tmp_path / "c").digest == digest
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_copied_folder_is_the_same_composition(written: tuple[Composition, Path], tmp_path: Path) -> None:
    shutil.copytree(written[1], tmp_path / "copy")
    assert load_composition(tmp_path / "copy").digest == load_composition(written[1]).digest


def test_operators_rules_stay_with_the_service(tmp_path: Path) -> None:
    rules = (Rule("r", keywords=("a",), expert="small"),)
    save_composition(composition(policy=Policy(generalist="large", rules=rules)), tmp_path / "c")
    assert load_composition(tmp_path / "c").policy.rules == ()


def test_facts_of_an_expert_come_back(tmp_path: Path) -> None:
    rich = ExpertCard(
        name="rich",
        params_b=46.7,
        active_params_b=12.9,
        price_input=0.5,
        price_output=1.5,
        context_length=32_768,
        capabilities=frozenset({Capability.TOOLS, Capability.VISION}),
        description="Naïve — but “good”.",
        base="mixtral",
    )
    save_composition(composition((rich, LARGE), [(0.1, 0.2)] * 3), tmp_path / "c")
    assert load_composition(tmp_path / "c").experts[0] == rich


def test_live_facts_replace_fitted_ones_by_name() -> None:
    live = card("coder", 1.5, context_length=512)
    seen = composition().with_cards([LARGE, live, SMALL, card("unknown")])
    assert seen.experts == (SMALL, live, LARGE)


def test_a_registry_without_an_expert_of_the_composition_is_an_error() -> None:
    with pytest.raises(CompositionError, match=r"coder.* large, small"):
        composition().with_cards([SMALL, LARGE])


def test_the_map_weighs_costs() -> None:
    frugal = composition((SMALL, CODER, LARGE), policy=Policy(generalist="large", active_weight=0.02))
    assert frugal.map == {"coding": "coder", "law": "coder", "smalltalk": "small"}
