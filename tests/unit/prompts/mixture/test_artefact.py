"""A mixture as a folder: comes back as it was, tells of every change, and is whole or not there."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prompts.mixture.artefact import ARRAYS, MANIFEST, check_name, load_mixture, save_mixture, sealed
from prompts.mixture.layout import FewShotPrompt
from prompts.mixture.mixture import Mixture, MixtureError, Region
from prompts.mixture.pool import DemoPool
from tests.unit.prompts.mixture.test_mixture import EAST, POOL, picking_mixture, small_mixture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small mixture, saved."""
    save_mixture(small_mixture(), tmp_path / "compass")
    return tmp_path / "compass"


def same(one: Mixture, other: Mixture) -> bool:
    return all(
        np.array_equal(a.centroid, b.centroid)
        and (a.radius, a.instruction, a.demos, a.nearest) == (b.radius, b.instruction, b.demos, b.nearest)
        for a, b in zip(one.regions, other.regions, strict=True)
    ) and all(
        getattr(one, field) == getattr(other, field)
        for field in ("name", "base", "encoder", "encoder_revision", "fallback", "layout", "digest")
    )


def test_a_saved_mixture_comes_back_as_it_was(folder: Path) -> None:
    assert same(load_mixture(folder), sealed(small_mixture()))


def test_saving_what_was_loaded_writes_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_mixture(load_mixture(folder), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_gives_the_digest_that_loading_verifies(tmp_path: Path) -> None:
    assert save_mixture(small_mixture(), tmp_path / "m") == load_mixture(tmp_path / "m").digest


def test_the_demos_to_pick_from_come_back_with_their_embeddings(tmp_path: Path) -> None:
    save_mixture(picking_mixture(), tmp_path / "m")
    loaded = load_mixture(tmp_path / "m")
    assert same(loaded, sealed(picking_mixture())) and loaded.pool is not None
    assert loaded.pool.demos == POOL.demos
    np.testing.assert_array_equal(loaded.pool.embeddings, POOL.embeddings)
    assert loaded.choose(EAST).nearest == picking_mixture().choose(EAST).nearest != ()


def test_a_mixture_that_picks_nothing_keeps_no_demos_to_pick_from(folder: Path) -> None:
    assert load_mixture(folder).pool is None


def test_the_digest_names_what_decides_answers_alone() -> None:
    mixture = small_mixture()
    assert sealed(replace(mixture, manifest={"bill": 7})).digest == sealed(mixture).digest
    others = (
        replace(mixture, layout="block"),
        replace(mixture, base="other"),
        replace(mixture, fallback=FewShotPrompt("Go.")),
        replace(mixture, regions=(replace(mixture.regions[0], radius=0.25), mixture.regions[1])),
        picking_mixture(),
        replace(picking_mixture(), pool=DemoPool(POOL.demos[::-1], POOL.embeddings)),
        replace(picking_mixture(), pool=DemoPool(POOL.demos, POOL.embeddings[::-1])),
    )
    assert len({sealed(each).digest for each in (mixture, *others)}) == 8


def test_what_was_measured_is_kept_beside_it(tmp_path: Path) -> None:
    save_mixture(replace(small_mixture(), manifest={"bill": {"calls": 9}}), tmp_path / "m")
    assert load_mixture(tmp_path / "m").manifest["bill"] == {"calls": 9}


def test_a_region_without_edge_is_kept(tmp_path: Path) -> None:
    save_mixture(small_mixture(Region(EAST, float("inf"))), tmp_path / "m")
    assert load_mixture(tmp_path / "m").regions[0].radius == float("inf")


def test_half_a_surrogate_pair_in_a_prompt_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="no text"):
        save_mixture(small_mixture(Region(EAST, 1.0, "a\ud800b")), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_the_folder_is_left(tmp_path: Path) -> None:
    for _ in range(2):
        save_mixture(small_mixture(), tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted([ARRAYS, MANIFEST])


def test_a_changed_array_is_noticed(folder: Path) -> None:
    content = bytearray((folder / ARRAYS).read_bytes())
    content[-1] ^= 1
    (folder / ARRAYS).write_bytes(bytes(content))
    with pytest.raises(MixtureError, match=r"arrays\.safetensors"):
        load_mixture(folder)


def test_a_changed_prompt_is_noticed(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("Go east.", "Go west."))
    with pytest.raises(MixtureError, match="changed"):
        load_mixture(folder)


def test_another_format_says_so(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(MixtureError, match="format 99"):
        load_mixture(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"format": 2}', "\udcff"])
def test_a_damaged_manifest_is_a_sentence(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MixtureError, match="build it again"):
        load_mixture(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / ARRAYS).unlink()
    with pytest.raises(MixtureError, match=r"arrays\.safetensors: No such file"):
        load_mixture(folder)
    with pytest.raises(MixtureError, match="coterie prompts build"):
        load_mixture(folder.parent / "nowhere")


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(MixtureError, match="holds no mixture"):
        save_mixture(small_mixture(), tmp_path)
    with pytest.raises(MixtureError, match="is a file"):
        save_mixture(small_mixture(), tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["", "coterie", "../up", "a b", "x" * 65])
def test_a_mixture_has_the_name_of_an_expert(name: str) -> None:
    with pytest.raises(MixtureError, match="cannot name a mixture"):
        check_name(name)


def test_loading_and_choosing_need_numpy_and_safetensors_alone(folder: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from prompts.mixture.artefact import load_mixture\n"
        f"mixture = load_mixture(Path({str(folder)!r}))\n"
        "mixture.messages(mixture.choose(np.eye(3, dtype=np.float32)[0]), [])\n"
        "wrong = {'sklearn', 'scipy', 'torch', 'pydantic', 'yaml', 'aiohttp', 'faiss', 'sqlite3', 'pickle'}\n"
        "sys.exit(' '.join(sorted(wrong & set(sys.modules) - before)) or 0)\n"
    )
    first = "import sys, numpy, safetensors.numpy\nbefore = set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", first + program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
