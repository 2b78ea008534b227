"""Convert a GGUF file to a safetensors folder (bfloat16). A script for the vLLM environment, without imports
of Coterie; it prints `stage NAME` lines for `experts.local.model_folders`.

    python convert_gguf.py MODEL.gguf FOLDER
"""

import os
import sys
from pathlib import Path


def convert(gguf: Path, folder: Path) -> None:
    """Write config, tokenizer with chat template, and safetensors weights of `gguf` into `folder`."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything needed is in the file
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _stage("tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf.name} has no chat template: it is not an instruct model")
    tokenizer.save_pretrained(folder)

    _stage("weights")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    # Otherwise vLLM would expect GGUF blocks.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config

    _stage("save")
    model.save_pretrained(folder)


def _stage(name: str) -> None:
    sys.stdout.write(f"stage {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
