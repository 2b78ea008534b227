"""Quantize the linear layers of a safetensors folder to int8: W8A8 of compressed-tensors, a scale for each
output channel, activations quantized for each token by the server. A script for the vLLM environment, without
imports of Coterie; it prints `stage NAME` lines for `experts.local.model_folders`.

    python quantize_int8.py FOLDER QUANTIZED_FOLDER
"""

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 127
LAYERS = "_proj.weight"
"""End of the names of the weights to quantize. Embeddings, norms and the output layer keep their format."""


def quantize(source: Path, folder: Path) -> None:
    """Write the model of `source` with int8 weights into `folder`."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    _stage("weights")
    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise SystemExit(f"{source} has no safetensors")
    count = 0
    for file in files:
        tensors = {}
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                tensor = opened.get_tensor(name)
                if name.endswith(LAYERS):
                    tensors[name], tensors[f"{name}_scale"] = quantized(tensor)
                    count += 1
                else:
                    tensors[name] = tensor
        save_file(tensors, folder / file.name, {"format": "pt"})
    if not count:
        raise SystemExit(f"{source} has no weight whose name ends in {LAYERS}")

    _stage("save")
    for path in source.iterdir():
        # An index of files would lack the scales.
        if path.is_file() and path.suffix != ".safetensors" and path.name != "model.safetensors.index.json":
            shutil.copy(path, folder / path.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = QUANTIZATION
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def quantized(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """`weight` (outputs x inputs) as int8, and a scale for each output (outputs x 1, float32). Their product
    differs from `weight` by at most half a scale."""
    import torch

    exact = weight.float()
    scale = (exact.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=1e-8)
    return (exact / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale


QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}


def _stage(name: str) -> None:
    sys.stdout.write(f"stage {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    quantize(Path(sys.argv[1]), Path(sys.argv[2]))
