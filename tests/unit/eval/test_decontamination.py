"""The guard keeps fitting data out of reports: by text, by near copy, and never without saying so."""

from pathlib import Path

import numpy as np
import pytest

from eval.decontamination import (
    DecontaminationError,
    Fitted,
    fitted_on,
    fitted_prompts,
    merged,
    screen,
    screen_for,
)
from prompts.seeds import load_seeds
from routers.composition import save_composition
from routers.evidence import Evidence, prompt_digest
from routers.fingerprints import fingerprints_of, write_fingerprints
from routers.outcome_table import read_outcomes
from tests.unit.routers.world import BagOfWords, card, composition

ROOT = Path(__file__).resolve().parents[3]
FITTED = (
    "A train leaves Ghent at nine in the morning and travels at eighty kilometres an hour; when does it "
    "arrive in Lille, seventy kilometres away?",
    "Summarise the following letter from a tenant to the landlord in two sentences.",
)
OTHER = "Explain photosynthesis to a child of seven."


def folder_of(path: Path, *, evidence: bool = False, fingerprints: bool = False) -> Path:
    vectors = BagOfWords().encode(FITTED)
    kept = None
    if evidence:
        digests = tuple(prompt_digest(each) for each in FITTED)
        kept = Evidence(vectors, np.ones((2, 1), np.float32), np.zeros(2, np.int64), digests, ("one",))
    save_composition(composition((card("one", 1.0),), [[0.5]], categories=("coding",)), path, kept)
    if fingerprints:
        write_fingerprints(path, fingerprints_of(FITTED, vectors))
    return path


def test_a_fitted_prompt_is_refused_whatever_its_case_and_blanks() -> None:
    found = screen([FITTED[1].upper(), f"{FITTED[0]}  ", OTHER], fitted_prompts(FITTED))
    assert found.seen.tolist() == [True, True, False]
    assert found.refused.tolist() == [True, True, False]


def test_a_near_copy_is_refused_by_its_wording() -> None:
    near = f"{FITTED[0]} Say."
    found = screen([near, OTHER], fitted_prompts(FITTED))
    assert (found.seen.tolist(), found.near.tolist()) == ([False, False], [True, False])


def test_a_looser_copy_is_refused_when_it_means_the_same_too() -> None:
    loose = f"Please answer: {FITTED[1]} Thanks!"
    vectors = BagOfWords().encode(FITTED)
    by_wording = screen([loose], fitted_prompts(FITTED, vectors))
    assert not by_wording.refused.any()
    same_sense = screen([loose], fitted_prompts(FITTED, vectors), vectors[1:])
    assert same_sense.near.tolist() == [True]
    other_sense = screen([loose], fitted_prompts(FITTED, vectors), vectors[:1])
    assert not other_sense.refused.any()


def test_allowed_prompts_are_counted_and_the_report_says_so() -> None:
    found = screen([FITTED[0], OTHER], fitted_prompts(FITTED), allow_seen=True)
    assert not found.refused.any()
    assert found.document() == {
        "prompts": 2,
        "seen": 1,
        "near_duplicates": 0,
        "refused": 0,
        "allow_seen": True,
        "checked_by": "fingerprints",
    }
    assert "REPORTED ON 1 prompts" in found.sentence()


def test_a_composition_says_what_it_was_fitted_on_by_fingerprints_or_by_evidence(tmp_path: Path) -> None:
    for kinds in ({"evidence": True}, {"fingerprints": True}, {"evidence": True, "fingerprints": True}):
        folder = folder_of(tmp_path / "_".join(kinds), **kinds)
        found = screen_for(folder, [f" {FITTED[0]}", OTHER], BagOfWords().encode([FITTED[0], OTHER]))
        assert found.refused.tolist() == [True, False]


def test_a_composition_that_says_nothing_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "c")
    with pytest.raises(DecontaminationError, match="allow-seen"):
        fitted_on(folder)
    with pytest.raises(DecontaminationError, match="fit it again"):
        screen_for(folder, [OTHER])
    found = screen_for(folder, [OTHER], allow_seen=True)
    assert found.document()["checked_by"] == "nothing"
    assert found.sentence().startswith("NOT CHECKED")
    nothing = fitted_on(folder, allow_unknown=True)
    assert not screen([OTHER], nothing, BagOfWords().encode([OTHER])).refused.any()


def test_evidence_alone_finds_copies_by_their_embedding() -> None:
    vectors = BagOfWords().encode(FITTED)
    fitted = Fitted(fingerprints_of([]), frozenset(), vectors, "evidence")
    assert screen(["reworded"], fitted, vectors[:1]).near.tolist() == [True]
    assert screen(["reworded"], fitted).near.tolist() == [False]


def test_what_any_of_several_compositions_has_seen_is_refused_for_all() -> None:
    prompts = [*FITTED, OTHER]
    found = merged(
        {
            "a": screen(prompts, fitted_prompts(FITTED[:1])),
            "b": screen(prompts, fitted_prompts(FITTED[1:])),
        }
    )
    assert found.refused.tolist() == [True, True, False]


def test_nothing_to_screen_is_no_error() -> None:
    assert screen([], fitted_prompts(FITTED)).refused.tolist() == []
    assert screen([OTHER], fitted_prompts([])).refused.tolist() == [False]


@pytest.mark.parametrize("profile", ["cpu", "tiny", "gpu"])
def test_the_shipped_compositions_say_what_they_were_fitted_on(profile: str) -> None:
    seeds = [seed.prompt for seed in load_seeds("fit")]
    # tiny was fitted on an earlier table, whose prompts have changed since.
    scored = list(read_outcomes(ROOT / "eval" / "outcomes" / "cpu").prompts) if profile == "cpu" else []
    held_out = [seed.prompt for seed in load_seeds("test")]
    found = screen_for(ROOT / "routers" / "compositions" / profile, [*seeds, *scored, *held_out])
    fitted = len(seeds) + len(scored)
    assert found.refused[:fitted].all()
    assert found.refused[fitted:].mean() < 0.01
