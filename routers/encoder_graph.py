"""Rewriting the exported encoder's ONNX graph, so that it computes the same numbers on every processor.

Two things differ between instruction sets in ONNX Runtime's kernels:

- Its fused Softmax sums as many lanes at a time as a vector register holds, so the last bit differs. The int8
  encoder rounds its activations after each layer, which makes a hundredth of a component out of that bit.
  `plain_softmax` writes the operator as its parts, none of which depends on the width of a register.
- Products of uint8 activations and int8 weights are added in pairs in saturating 16-bit integers where there
  is no VNNI (`vpmaddubsw`). With weights of 7 bits no pair can saturate: 2 · 255 · 64 = 32,640 < 32,768.
  `level_channels` gives back most of the precision that the eighth bit is worth.

The graph is the one that `encoder_export` makes; nothing here knows how it is run.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LEVELLING: Final = 0.75
"""How much of the spread between channels is moved into the weights: 0 nothing, 1 all. Of 0.4 to 1 the
one whose worst prompt of the seed prompts stays nearest float32 (cosine 0.975; 0.965 without)."""
SPREAD: Final = 2.0
"""Standard deviations from its mean that count as the range of a normalised channel."""


def plain_softmax(model: "ModelProto") -> None:
    """Replace each Softmax over the last axis by exp(x - max) / sum, in place."""
    from onnx import helper, numpy_helper

    axis = "softmax_axis"

    def parts(node: "NodeProto") -> Iterable["NodeProto"]:
        if node.op_type != "Softmax":
            return [node]
        scores, name = node.input[0], node.name
        top, lower, powers, total = (f"{name}/{part}" for part in ("top", "lower", "powers", "total"))
        return [
            helper.make_node("ReduceMax", [scores], [top], f"{name}/ReduceMax", axes=[-1], keepdims=1),
            helper.make_node("Sub", [scores, top], [lower], f"{name}/Sub"),
            helper.make_node("Exp", [lower], [powers], f"{name}/Exp"),
            helper.make_node("ReduceSum", [powers, axis], [total], f"{name}/ReduceSum", keepdims=1),
            helper.make_node("Div", [powers, total], [node.output[0]], f"{name}/Div"),
        ]

    nodes = [part for node in model.graph.node for part in parts(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), axis))


def level_channels(model: "ModelProto") -> None:
    """Divide what matrix products read from a layer normalisation by each channel's range, and multiply the
    weights by it, in place: the same products, from activations that one scale per text fits better.

    The ranges are read from the normalisation's own gain and shift, after SmoothQuant (arXiv 2211.10438),
    which measures them. They are powers of two, so that float32 products change by nothing.
    """
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    normalised = {node.output[0]: node for node in model.graph.node if node.op_type == "LayerNormalization"}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[0] in normalised and node.input[1] in weights:
            readers.setdefault(node.input[0], []).append(node)
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        states = node.output[0]
        if states not in readers:
            continue
        gain, shift = (numpy_helper.to_array(weights[name]) for name in node.input[1:3])
        ranges = np.abs(shift) + SPREAD * np.abs(gain)
        exponents = np.round(LEVELLING * np.log2(ranges / np.median(ranges)))
        factors = np.exp2(exponents).astype(np.float32)
        inverse, levelled = f"{states}/inverse", f"{states}/levelled"
        model.graph.initializer.append(numpy_helper.from_array(1 / factors, inverse))
        nodes.append(helper.make_node("Mul", [states, inverse], [levelled], f"{node.name}/Level"))
        for reader in readers[states]:
            weight = weights[reader.input[1]]
            scaled = numpy_helper.to_array(weight) * factors[:, None]
            weight.CopyFrom(numpy_helper.from_array(scaled, weight.name))
            reader.input[0] = levelled
    del model.graph.node[:]
    model.graph.node.extend(nodes)
