"""Installing a lock says how far it is: what pip is at, and how much of the environment is there."""

from pathlib import Path

from deploy.virtual_environment import PipProgress


def test_the_progress_follows_pips_output(tmp_path: Path) -> None:
    progress = PipProgress(packages=3, folder=tmp_path, size=2.8)
    said = []
    for line in (
        "Collecting faiss-cpu==1.15.1 (from -r locks/app.txt (line 40))",
        "Downloading faiss_cpu-1.15.1-cp311-cp311-manylinux_2_28_x86_64.whl (23.9 MB)",
        "Requirement already satisfied: six==1.17.0 in ./.venv/lib",
        "Processing /wheels/torch-2.13.0-cp311-cp311-linux_x86_64.whl",
        "Installing collected packages: faiss-cpu, torch",
    ):
        progress.read(line)
        said.append(str(progress))
    assert said == [
        "fetching 1 of 3: faiss-cpu 1.15.1",
        "fetching 1 of 3: faiss-cpu 1.15.1 (23.9 MB)",
        "fetching 2 of 3: six 1.17.0",
        "fetching 3 of 3: torch-2.13.0-cp311-cp311-linux_x86_64.whl",
        "unpacking: 0.0 of about 2.8 GB",
    ]
