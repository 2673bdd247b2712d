"""Who writes and who reads each tensor of a graph: looked up often, built once. Nothing here changes a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .graph import attribute, is_standard, node_reads

QDQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The writers and readers of a graph's tensors, as they were when it was built.

    Attributes:
        producers: Tensor name to the node that writes it.
        readers: Tensor name to the nodes that read it, one entry per node, graph order.
        outputs: Names of the graph's outputs.
        stored: Constants by name: initializers that are no graph inputs, and Constant nodes.
    """

    producers: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    outputs: frozenset[str]
    stored: dict[str, onnx.TensorProto]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Wiring:
        """Look a graph over."""
        readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node_reads(node)):
                readers[name].append(node)
        inputs = {entry.name for entry in graph.input}
        stored = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        stored |= {node.output[0]: value for node in graph.node if (value := _constant(node)) is not None}
        return cls(
            producers={name: node for node in graph.node for name in node.output if name},
            readers=dict(readers),
            outputs=frozenset(entry.name for entry in graph.output),
            stored=stored,
        )

    def producer(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """Give the node that writes a tensor, if it is one of the named standard operators (or any, if none named)."""
        node = self.producers.get(name)
        return node if node is not None and (not operators or is_standard(node, *operators)) else None

    def readers_of(self, name: str) -> Sequence[onnx.NodeProto]:
        """Give the nodes that read a tensor."""
        return self.readers.get(name, ())

    def only_read_by(self, name: str, *operators: str) -> bool:
        """Tell whether a tensor has readers, all of the named standard operators, and is no graph output."""
        found = self.readers_of(name)
        return bool(found) and name not in self.outputs and all(is_standard(node, *operators) for node in found)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Give a constant as an array, or None where the tensor is computed or absent."""
        tensor = self.stored.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)


def operand(node: onnx.NodeProto, index: int) -> str:
    """Give the name of a node's input, or an empty name where it is left out."""
    return node.input[index] if index < len(node.input) else ""


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    return attribute(node, "value", None) if is_standard(node, "Constant") else None
