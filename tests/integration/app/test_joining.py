"""`coterie experts add` writes a composition that serves with one more expert."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.operations.add_expert import add_expert
from routers.composition import CompositionError, ExpertCard, load_composition, save_composition
from routers.evidence import Evidence, load_evidence, prompt_digest
from routers.fingerprints import FILE as FINGERPRINTS
from routers.fingerprints import fingerprints_of, load_fingerprints, write_fingerprints
from routers.new_expert import AddExpertError
from routers.outcome_table import OutcomeTable
from tests.integration.app.world import CODE, TALK, WordEncoder, World, small_composition

EXPERT = ExpertCard("newcomer", 3.0, 3.0)


def table(scores: list[float], category: str = "coding", prompts: list[str] | None = None) -> OutcomeTable:
    prompts = prompts or [f"{CODE} {number}" for number in range(len(scores))]
    return OutcomeTable(
        tuple(f"p{number}" for number in range(len(scores))),
        (category,) * len(scores),
        tuple(prompts),
        (EXPERT,),
        np.asarray(scores, dtype=np.float32)[:, None],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_composition(tmp_path / "composition")


def test_a_newcomer_that_scores_well_takes_its_category(folder: Path, tmp_path: Path) -> None:
    before = load_composition(folder)
    joined = add_expert(folder, tmp_path / "out", EXPERT, WordEncoder(), table([1.0] * 60))
    assert joined.composition.map["coding"] == "newcomer"
    assert joined.composition.map["smalltalk"] == before.map["smalltalk"]
    assert joined.composition.digest != before.digest == load_composition(folder).digest
    assert joined.composition.manifest["joined"][0]["from"] == ["scored prompts"]


def test_categories_that_the_composition_does_not_have_are_left_to_stage_1(
    folder: Path, tmp_path: Path
) -> None:
    joined = add_expert(folder, tmp_path / "out", EXPERT, WordEncoder(), table([1.0] * 60, category="mbpp"))
    assert joined.row.counts[0] > 50 > 10 > joined.row.counts[1]
    assert joined.composition.map["coding"] == "newcomer"


def test_a_description_alone_gives_a_row_with_wide_errors(folder: Path, tmp_path: Path) -> None:
    card = replace(EXPERT, description="python function code bug")
    joined = add_expert(folder, tmp_path / "out", card, WordEncoder())
    coding, smalltalk = joined.row.utilities
    assert coding > smalltalk
    assert (joined.row.errors >= 0.15).all()
    assert joined.composition.manifest["joined"][0]["from"] == ["description"]


def test_evidence_goes_along_and_learns_the_newcomers_scores(tmp_path: Path) -> None:
    composed = load_composition(small_composition(tmp_path / "plain"))
    prompts = [f"{CODE} {number}" for number in range(4)]
    evidence = Evidence(
        np.zeros((4, 4), dtype=np.float32),
        np.asarray([[1, 0, 0.5]] * 4, dtype=np.float32),
        np.zeros(4, dtype=np.int64),
        tuple(prompt_digest(each) for each in prompts),
        composed.expert_names,
        np.full((4, 3), 0.5, dtype=np.float32),
    )
    save_composition(composed, tmp_path / "known", evidence)
    write_fingerprints(tmp_path / "known", fingerprints_of(prompts))
    add_expert(
        tmp_path / "known", tmp_path / "out", EXPERT, WordEncoder(), table([1.0, 0.0], prompts=prompts[:2])
    )
    after = load_evidence(tmp_path / "out")
    assert after.experts == (*composed.expert_names, "newcomer")
    assert np.array_equal(after.scores[:, 3], [1, 0, np.nan, np.nan], equal_nan=True)
    assert after.held_out is not None and after.held_out.shape == (4, 4)


@pytest.mark.parametrize(
    ("card", "scores", "message"),
    [
        (EXPERT, None, "nothing is known of it"),
        (replace(EXPERT, name="coder"), table([1.0]), "no scores of 'coder'"),
        (EXPERT, table([float("nan")]), "no score of 'newcomer'"),
        (replace(EXPERT, base="nobody"), table([1.0]), "composition"),
        (replace(EXPERT, name="coder", description="codes"), None, "an expert 'coder' already"),
    ],
)
def test_what_cannot_join_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, card: ExpertCard, scores: OutcomeTable | None, message: str
) -> None:
    with pytest.raises(AddExpertError, match=message):
        add_expert(folder, tmp_path / "out", card, WordEncoder(), scores)
    assert not (tmp_path / "out").exists()


def test_the_newcomers_prompts_join_those_that_were_fitted_on(folder: Path, tmp_path: Path) -> None:
    write_fingerprints(folder, fingerprints_of(["an older prompt"]))
    scores = table([1.0, 0.0])
    add_expert(folder, tmp_path / "out", EXPERT, WordEncoder(), scores)
    known = load_fingerprints(tmp_path / "out")
    assert known is not None
    assert known.known == fingerprints_of(["an older prompt", *scores.prompts]).known


def test_scores_cannot_join_where_nothing_says_what_was_fitted_on(folder: Path, tmp_path: Path) -> None:
    (folder / FINGERPRINTS).unlink()
    with pytest.raises(AddExpertError, match=r"seen\.safetensors.*fit"):
        add_expert(folder, tmp_path / "out", EXPERT, WordEncoder(), table([1.0]))
    assert not (tmp_path / "out").exists()

    described = replace(EXPERT, description="python function code bug")
    add_expert(folder, tmp_path / "out", described, WordEncoder())
    assert not (tmp_path / "out" / FINGERPRINTS).exists()


def test_damaged_fingerprints_are_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    (folder / FINGERPRINTS).write_bytes(b"damaged")
    with pytest.raises(AddExpertError, match=r"fingerprints .*fit"):
        add_expert(folder, tmp_path / "out", EXPERT, WordEncoder(), table([1.0]))
    assert not (tmp_path / "out").exists()


def test_another_encoder_or_no_composition_is_refused(folder: Path, tmp_path: Path) -> None:
    class Newer(WordEncoder):
        revision = "2"

    with pytest.raises(AddExpertError, match="words 1"):
        add_expert(folder, tmp_path / "out", EXPERT, Newer(), table([1.0]))
    with pytest.raises(CompositionError, match="no composition in"):
        add_expert(tmp_path / "nowhere", tmp_path / "out", EXPERT, WordEncoder(), table([1.0]))


async def test_a_running_service_takes_the_newcomer_in_at_a_reload(world: World) -> None:
    folder = world.folder / "composition"
    newcomer = replace(EXPERT, name="backup", params_b=3.0)
    before = load_composition(folder)
    keep = [0, 1]
    save_composition(
        replace(
            before,
            experts=before.experts[:2],
            utilities=before.utilities[:, keep],
            errors=before.errors[:, keep],
            counts=before.counts[:, keep],
            global_utilities=before.global_utilities[keep],
            policy=replace(before.policy, generalist="coder"),
        ),
        folder,
    )
    write_fingerprints(folder, fingerprints_of(()))
    async with world.serve() as api:
        assert (await api.chat(TALK)).json()["routing"]["expert"] == "talker"
        scores = table([1.0] * 40, "smalltalk", [f"{TALK} {number}" for number in range(40)])
        scores = replace(scores, experts=(newcomer,))
        add_expert(folder, folder, newcomer, WordEncoder(), scores)
        assert (await api.http.post("/v1/composition/reload")).json()["changed"] is True
        routing = (await api.chat(TALK)).json()["routing"]
        assert routing["expert"] == "backup"
        assert len(routing["ranking"]) == 3
