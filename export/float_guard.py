"""Keeps ONNX Runtime from quantizing a layer that was left in float on purpose."""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import helper

from .graph import consumers, initializers, is_standard, replace_nodes, unique_name

_RUNTIME_QUANTIZES = ("Conv", "ConvTranspose", "Gemm")
_PASSED_OVER = ("Relu", "Clip")


def guard_float_layers(model: onnx.ModelProto, names: Collection[str]) -> tuple[str, ...]:
    """Put a barrier behind each named float layer that stands between DequantizeLinear and QuantizeLinear, in place.

    ONNX Runtime takes a Conv, ConvTranspose or Gemm with float weights there for a layer someone forgot: when it loads
    the file it quantizes the weights to int8 with one scale for the whole tensor, and runs the layer in integers. A
    ``Max`` of one input computes nothing and ends the pattern. It stands before the QuantizeLinear, so that the layer
    and its activation function can still be fused.

    Args:
        model: A QDQ model; nodes are added.
        names: Nodes that are to stay in float.

    Returns:
        Names of the layers that got a barrier.

    Reference:
        ``WeightBiasQuantization`` in onnxruntime/core/optimizer/qdq_transformer, since 1.21.
    """
    graph = model.graph
    constant, readers = initializers(graph), consumers(graph)
    makers = {name: node for node in graph.node for name in node.output}
    following = {name: node for node in graph.node for name in node.input if readers[name] == 1}
    layers = [node for node in graph.node if node.name in names and is_standard(node, *_RUNTIME_QUANTIZES)]
    ends = {
        node.name: _end(node, following)
        for node in layers
        if node.input[1] in constant and _dequantized(node.input[0], makers)
    }
    _insert(graph, {tensor for tensor in ends.values() if tensor})
    return tuple(name for name, tensor in ends.items() if tensor)


def _dequantized(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    return name in makers and is_standard(makers[name], "DequantizeLinear")


def _end(node: onnx.NodeProto, following: dict[str, onnx.NodeProto]) -> str:
    """Follow a layer's only reader through activation functions; give what enters the QuantizeLinear there, or ''."""
    tensor = node.output[0]
    while tensor in following and is_standard(following[tensor], *_PASSED_OVER):
        tensor = following[tensor].output[0]
    return tensor if tensor in following and is_standard(following[tensor], "QuantizeLinear") else ""


def _insert(graph: onnx.GraphProto, tensors: set[str]) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.input and node.input[0] in tensors:
            name = unique_name(graph, f"{node.input[0]}_float")
            nodes.append(helper.make_node("Max", [node.input[0]], [name], name=name))
            node.input[0] = name
        nodes.append(node)
    replace_nodes(graph, nodes)
