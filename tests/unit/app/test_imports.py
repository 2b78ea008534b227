"""Importing the package is free, and the command's help is quick."""

import subprocess
import sys

HEAVY = {
    "fastapi",
    "sqlalchemy",
    "alembic",
    "aiohttp",
    "httpx2",
    "numpy",
    "onnxruntime",
    "litellm",
    "streamlit",
}


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import app").isdisjoint(HEAVY)


def test_building_the_command_imports_nothing_heavy() -> None:
    assert modules_after("from app.cli.root import build; build()").isdisjoint(HEAVY)


def test_the_service_needs_neither_torch_nor_litellm_to_be_imported() -> None:
    loaded = modules_after("import app.server")
    assert loaded.isdisjoint({"torch", "litellm", "onnxruntime", "streamlit", "sklearn"})


def test_the_service_starts_without_what_few_services_use() -> None:
    """Each takes some 40 to 150 ms of CPU time, a large part of a start."""
    loaded = modules_after("import app.server")
    assert loaded.isdisjoint({"alembic", "base.closed_answers", "sqlalchemy.dialects.postgresql"})


def test_langgraph_is_loaded_by_the_first_request_that_asks_for_a_strategy() -> None:
    build = "from app.strategies.strategy_registry import Catalogue; c = Catalogue()"
    assert "langgraph" not in modules_after(f"import app.server; {build}; c.strategy('panel')")
    assert "langgraph" in modules_after(f"{build}; c.compiled('panel')")
