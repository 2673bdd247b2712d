"""Convolutions that apply the Relu or Clip behind them as they write, where nobody looks at what lies between.

ONNX Runtime computes them with the same kernel and the same bits, as its operator ``FusedConv``; what is saved is that
a tensor is written and read again. It would fuse them itself, but only together with much that rounds differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import onnx
from onnx import helper, numpy_helper

DOMAIN = "com.microsoft"
"""The operator set of ``FusedConv``, version 1."""


def fused_nodes(graph: onnx.GraphProto, kept: Collection[str]) -> list[onnx.NodeProto]:
    """Give the graph's nodes with each convolution fused with the Relu or Clip that is its only reader.

    Args:
        graph: Any graph. One with subgraphs is left as it is, and so is a Clip without two constant bounds.
        kept: Tensors that have to go on existing, besides the graph's outputs.

    Returns:
        Nodes in the order of computation; those that are not fused are the graph's own.
    """
    if any(entry.HasField("g") or entry.graphs for node in graph.node for entry in node.attribute):
        return list(graph.node)
    constants = _constants(graph)
    convolutions = _hidden_convolutions(graph, {*kept, *(value.name for value in graph.output)})
    nodes, gone = [], set()
    for node in graph.node:
        before = convolutions.get(node.input[0]) if node.input else None
        how = _activation(node, constants)
        if before is None or how is None:
            nodes.append(node)
        else:
            nodes.append(_fused(before, node.output[0], how))
            gone.add(node.input[0])
    return [node for node in nodes if node.output[0] not in gone]


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    inputs = {value.name for value in graph.input}  # an initializer that is an input too can be overridden
    return {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}


def _hidden_convolutions(graph: onnx.GraphProto, kept: set[str]) -> dict[str, onnx.NodeProto]:
    """Name the convolutions' outputs that one node reads and nobody else looks at."""
    readers = Counter(name for node in graph.node for name in node.input)
    return {
        node.output[0]: node
        for node in graph.node
        if _is_standard(node, "Conv") and readers[node.output[0]] == 1 and node.output[0] not in kept
    }


def _activation(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> dict[str, Any] | None:
    """Spell a node as attributes of ``FusedConv``; None if that cannot be done."""
    if _is_standard(node, "Relu"):
        return {"activation": "Relu"}
    if not _is_standard(node, "Clip"):
        return None
    bounds = [numpy_helper.to_array(constants[name]) for name in node.input[1:] if name in constants]
    if [bound.size for bound in bounds] != [1, 1]:
        return None
    low, high = (float(bound.item()) for bound in bounds)
    return {"activation": "Clip", "activation_params": [low, high]}


def _fused(convolution: onnx.NodeProto, output: str, how: Mapping[str, Any]) -> onnx.NodeProto:
    fused = helper.make_node("FusedConv", convolution.input, [output], domain=DOMAIN, **how)
    fused.attribute.extend(convolution.attribute)
    return fused


def _is_standard(node: onnx.NodeProto, operator: str) -> bool:
    return node.op_type == operator and node.domain in ("", "ai.onnx")
