"""Turn one GGUF file into a safetensors folder that vLLM serves. A script, not a module of ours:
it runs in the vLLM environment, where transformers and torch live, and knows nothing of Coterie.

    python convert_gguf.py MODEL.gguf FOLDER

Lines on standard output are for `experts.local.model_folders`: `stage NAME` before each stage. The weights
are saved in bfloat16, two bytes a parameter: what the CPU build of vLLM computes in.
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
    # The weights are plain now; with this entry left vLLM would look for GGUF blocks.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config

    _stage("save")
    model.save_pretrained(folder)


def _stage(name: str) -> None:
    sys.stdout.write(f"stage {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
