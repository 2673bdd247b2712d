"""Takes Q/DQ out from between an operator and the activation a kernel fuses into it. Runs after placement."""

from __future__ import annotations

import onnx

from .graph import is_standard, remove_dead, rename_reads
from .wiring import Wiring, operand

FUSING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization")
ACTIVATIONS = ("Relu", "Clip")


def fuse_activations(graph: onnx.GraphProto) -> None:
    """Remove each Q/DQ pair that only carries a Conv, Gemm, MatMul or Add into its Relu or Clip, in place.

    A kernel that fuses the activation rounds once, behind it; a pair in between asks for two roundings, and TensorRT
    keeps what it is asked for. A tensor that others read too keeps its pair.

    Reference:
        TensorRT documentation, "Explicit Quantization", on placing Q/DQ around linear operators and their activations.
    """
    wiring = Wiring.of(graph)
    bypassed = {}
    for node in graph.node:
        pair = pair_before(wiring, node) if is_standard(node, *ACTIVATIONS) else None
        if pair is not None:
            bypassed[node.input[0]] = pair[0].input[0]
    rename_reads(graph, bypassed)
    remove_dead(graph)


def pair_before(wiring: Wiring, node: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Give the Q and DQ that do nothing but carry an operator's output into this node, or None."""
    dequantize = wiring.producer(operand(node, 0), "DequantizeLinear")
    quantize = None if dequantize is None else wiring.producer(dequantize.input[0], "QuantizeLinear")
    if dequantize is None or quantize is None:
        return None
    between = (quantize.input[0], quantize.output[0], dequantize.output[0])
    alone = all(len(wiring.readers_of(name)) == 1 and name not in wiring.outputs for name in between)
    return (quantize, dequantize) if alone and wiring.producer(quantize.input[0], *FUSING) is not None else None
