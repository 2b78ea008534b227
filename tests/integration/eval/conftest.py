"""Commands keep their answers away from those of the clone, and each test's from the others'."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of run-time data."""
    folder = tmp_path / "data"
    monkeypatch.setenv("COTERIE_DATA", str(folder))
    return folder
