"""The exact widening of a convolution's input channels to a multiple of four, which integer kernels read at once."""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from .graph import add_initializer, attribute, is_standard, remove_dead, replace_nodes, unique_name
from .wiring import Wiring, operand

_TOGETHER = 4  # bytes of one multiply-add of AVX-VNNI and of Arm's dot product


def widen_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every convolution that lacks one input channel to a multiple of four that channel: of codes and weights 0.

    ONNX Runtime's direct convolution of uint8 by int8 takes input channels by fours; a stem that reads red, green and
    blue is copied patch by patch into a matrix instead. The fourth channel meets weights of 0, so every number behind
    the convolution stays what it was.

    Args:
        model: A QDQ model; not changed. Depthwise and pointwise convolutions, and those whose activations or weights
            are not stored as codes behind a DequantizeLinear, are left alone.

    Returns:
        The widened model. Check it with `prove_equal` before relying on it.
    """
    work = onnx.ModelProto()
    work.CopyFrom(model)
    graph, wiring = work.graph, Wiring.of(work.graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if is_standard(node, "Conv"):
            nodes.extend(_widened(graph, wiring, node))
        nodes.append(node)
    replace_nodes(graph, nodes)
    remove_dead(graph)
    return work


def _widened(graph: onnx.GraphProto, wiring: Wiring, conv: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Make the nodes in front of a convolution that give it one more channel, and let it read them; or none."""
    activations, weights = (wiring.producer(name, "DequantizeLinear") for name in conv.input[:2])
    codes = None if weights is None else wiring.constant(weights.input[0])
    if activations is None or weights is None or codes is None or not _lacks_one(conv, codes):
        return []
    scale, zero = wiring.constant(activations.input[1]), wiring.constant(operand(weights, 2))
    if scale is None or scale.size != 1 or (zero is not None and zero.any()):
        return []
    pad = _pad(graph, activations.input[0], codes.ndim)
    read = _reading(graph, activations, pad.output[0])
    wide = unique_name(graph, f"{weights.input[0]}_wide")
    add_initializer(graph, wide, np.pad(codes, [(0, 0), (0, 1), *[(0, 0)] * (codes.ndim - 2)]))
    stored = _reading(graph, weights, wide)
    conv.input[0], conv.input[1] = read.output[0], stored.output[0]
    return [pad, read, stored]


def _lacks_one(conv: onnx.NodeProto, codes: NDArray[np.int8]) -> bool:
    pointwise = math.prod(codes.shape[2:]) == 1
    return not pointwise and attribute(conv, "group", 1) == 1 and codes.shape[1] % _TOGETHER == _TOGETHER - 1


def _pad(graph: onnx.GraphProto, codes: str, rank: int) -> onnx.NodeProto:
    """Make the node that puts one channel behind the others."""
    ends, output = (unique_name(graph, f"{codes}_wide{part}") for part in ("_pads", ""))
    add_initializer(graph, ends, np.array([0] * rank + [int(axis == 1) for axis in range(rank)], np.int64))
    node: onnx.NodeProto = helper.make_node("Pad", [codes, ends], [output], name=f"{output}_node")
    return node


def _reading(graph: onnx.GraphProto, dequantize: onnx.NodeProto, codes: str) -> onnx.NodeProto:
    """Make a copy of a DequantizeLinear that reads other codes."""
    node = onnx.NodeProto()
    node.CopyFrom(dequantize)
    node.input[0], node.output[0] = codes, unique_name(graph, f"{dequantize.output[0]}_wide")
    node.name = f"{node.output[0]}_node"
    return node
