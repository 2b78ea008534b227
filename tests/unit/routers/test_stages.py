"""A step that was done is not done again, unless something that went into it changed."""

from pathlib import Path

import numpy as np

from routers.fitting.stages import StageCache


def test_a_result_is_computed_once_per_input(tmp_path: Path) -> None:
    stages = StageCache(tmp_path)
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"found": np.arange(3)}

    data = np.ones(4, dtype=np.float32)
    for _ in range(2):
        assert stages.cached("step", (data, 7), compute)["found"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    stages.cached("step", (data * 2, 7), compute)
    stages.cached("step", (data, 8), compute)
    assert len(calls) == 3


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    stages = StageCache(tmp_path)
    stages.cached("step", (1,), lambda: {"found": np.arange(3)})
    for path in tmp_path.iterdir():
        path.write_bytes(b"half a fi")
    assert stages.cached("step", (1,), lambda: {"found": np.arange(2)})["found"].tolist() == [0, 1]


def test_without_a_folder_nothing_is_kept() -> None:
    assert StageCache().cached("step", (1,), lambda: {"found": np.arange(2)})["found"].tolist() == [0, 1]
