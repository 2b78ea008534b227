"""Evidence goes out and comes back, recognises prompts without their text, and cannot be swapped."""

import json
from pathlib import Path

import numpy as np
import pytest

from routers.composition import load_composition, save_composition
from routers.evidence import FILE, Evidence, EvidenceError, load_evidence, prompt_digest
from tests.unit.routers.world import composition


def evidence() -> Evidence:
    random = np.random.default_rng(0)
    scores = random.random((5, 3)).astype(np.float32)
    scores[0, 1] = np.nan
    return Evidence(
        embeddings=random.normal(size=(5, 4)).astype(np.float32),
        scores=scores,
        labels=np.asarray([0, 1, 2, 0, 1]),
        prompt_digests=tuple(prompt_digest(f"prompt {row}") for row in range(5)),
        experts=("small", "coder", "large"),
        held_out=random.random((5, 3)).astype(np.float32),
    )


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = evidence()
    save_composition(composition(), tmp_path / "made", saved)
    found = load_evidence(tmp_path / "made")
    assert found.experts == saved.experts
    assert found.labels.tolist() == saved.labels.tolist()
    assert found.prompt_digests == saved.prompt_digests
    assert np.isnan(found.scores[0, 1])
    assert np.nan_to_num(found.scores) == pytest.approx(np.nan_to_num(saved.scores), abs=1e-3)
    assert found.held_out == pytest.approx(saved.held_out)


def test_it_knows_its_prompts_by_digest_alone(tmp_path: Path) -> None:
    save_composition(composition(), tmp_path / "made", evidence())
    assert b"prompt 1" not in (tmp_path / "made" / FILE).read_bytes()
    assert load_evidence(tmp_path / "made").unseen([" prompt 1\n", "another"]).tolist() == [False, True]


def test_a_composition_serves_without_it(tmp_path: Path) -> None:
    save_composition(composition(), tmp_path / "made", evidence())
    (tmp_path / "made" / FILE).unlink()
    assert load_composition(tmp_path / "made").categories == composition().categories
    with pytest.raises(EvidenceError, match="is missing"):
        load_evidence(tmp_path / "made")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    save_composition(composition(), tmp_path / "made", evidence())
    (tmp_path / "made" / FILE).write_bytes(b"other")
    with pytest.raises(EvidenceError, match="digest"):
        load_evidence(tmp_path / "made")


def test_a_composition_saved_without_says_so(tmp_path: Path) -> None:
    save_composition(composition(), tmp_path / "made")
    assert json.loads((tmp_path / "made" / "composition.json").read_text())["evidence"] is None
    with pytest.raises(EvidenceError, match="without its evidence"):
        load_evidence(tmp_path / "made")
