"""What workers are forked from: a process that holds what they need, and has no threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "import sys, os, app.workers.preload; print(len(os.listdir('/proc/self/task')), *sys.modules)"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="tells threads on Linux alone")
def test_the_process_that_is_forked_has_the_service_and_no_threads() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, env=environment
    )
    threads, *modules = done.stdout.split()
    assert threads == "1"
    assert {"app.workers.worker", "app.startup", "fastapi", "sqlalchemy", "aiohttp", "faiss"} <= set(modules)
    assert {"onnxruntime", "torch", "litellm"}.isdisjoint(modules)


def test_the_parent_loads_nothing_that_serves() -> None:
    show = "import sys, app.workers.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert {"fastapi", "sqlalchemy", "numpy", "aiohttp", "uvicorn", "prometheus_client"}.isdisjoint(
        done.stdout.split()
    )
