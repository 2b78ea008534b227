"""The int8 folder of a model with one layer."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experts.local.quantize_int8 import quantize, quantized

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(1)
    tensors = {
        f"{LAYER}.weight": torch.randn(6, 4, dtype=torch.bfloat16),
        f"{LAYER}.bias": torch.randn(6, dtype=torch.bfloat16),
        "model.embed_tokens.weight": torch.randn(8, 4, dtype=torch.bfloat16),
        "lm_head.weight": torch.randn(8, 4, dtype=torch.bfloat16),
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"hidden_size": 4}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_weights_are_within_half_a_step_of_their_channel() -> None:
    torch.manual_seed(2)
    weight = torch.randn(16, 32) * torch.logspace(-3, 3, 16)[:, None]
    numbers, scale = quantized(weight)
    assert numbers.dtype == torch.int8
    assert scale.shape == (16, 1)
    assert ((numbers * scale - weight).abs() <= scale / 2 * 1.001).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    numbers, scale = quantized(torch.zeros(2, 3))
    assert not numbers.any() and scale.isfinite().all()


def test_linear_layers_alone_are_quantized(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    quantize(model, out)
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert after[f"{LAYER}.weight"].dtype == torch.int8
    assert after[f"{LAYER}.weight_scale"].shape == (6, 1)
    for name in set(before) - {f"{LAYER}.weight"}:
        assert torch.equal(before[name], after[name]), name


def test_the_config_tells_vllm_and_the_tokenizer_comes_along(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    quantize(model, out)
    config = json.loads((out / "config.json").read_text())
    assert config["hidden_size"] == 4
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert (out / "tokenizer.json").is_file()


def test_a_model_without_such_layers_is_refused(model: Path, tmp_path: Path) -> None:
    save_file({"wte.weight": torch.zeros(2, 2)}, model / "model.safetensors")
    with pytest.raises(SystemExit, match="_proj"):
        quantize(model, tmp_path)
