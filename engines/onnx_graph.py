"""Reading an ONNX graph for the audit: who makes and reads a tensor, shapes at batch 1, MACs. No runtime here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import ModelProto, NodeProto

from .onnx_source import KNOWN_DOMAINS

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"

# Position of the activation and of the weight among the inputs of each operator that multiplies.
MAC_OPERATORS: dict[str, tuple[int, int]] = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "FusedConv": (0, 1),
    "FusedGemm": (0, 1),
    "FusedMatMul": (0, 1),
    "TransposeMatMul": (0, 1),
    "NhwcFusedConv": (0, 1),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "MatMulNBits": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
}
# Operators that multiply too, but whose MACs are not counted here: with one of them nothing is proven.
UNCOUNTED_OPERATORS = frozenset(
    (
        "Attention",
        "DeformConv",
        "Einsum",
        "GRU",
        "If",
        "LSTM",
        "Loop",
        "MultiHeadAttention",
        "QAttention",
        "RNN",
        "Scan",
    )
)


@dataclass(frozen=True)
class Graph:
    """An index over the main graph of a model.

    Attributes:
        nodes: The nodes in topological order.
        producers: Tensor name to the node that makes it.
        readers: Tensor name to the nodes that read it, once for each time.
        initializers: Tensor name to its shape, constants included.
        types: Tensor name to ONNX element type, as far as inferred.
        shapes: Tensor name to its shape with the batch axis set to 1, as far as inferred.
        outputs: Names of the graph's outputs.
    """

    nodes: Sequence[NodeProto]
    producers: dict[str, NodeProto]
    readers: dict[str, list[NodeProto]]
    initializers: dict[str, tuple[int, ...]]
    types: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    outputs: frozenset[str]

    @classmethod
    def of(cls, model: ModelProto) -> Graph:
        """Index a model, local functions inlined and shapes inferred at batch 1; the model is not changed."""
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        nodes = list(model.graph.node)
        readers: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for tensor in node.input:
                readers.setdefault(tensor, []).append(node)
        types, shapes = _infer(model)
        return cls(
            nodes=nodes,
            producers={tensor: node for node in nodes for tensor in node.output if tensor},
            readers=readers,
            initializers=_initializers(model),
            types=types,
            shapes=shapes,
            outputs=frozenset(output.name for output in model.graph.output),
        )

    def layers(self) -> list[NodeProto]:
        """Give the nodes that multiply and accumulate, and the custom ones, which may."""
        multiplying = MAC_OPERATORS.keys() | UNCOUNTED_OPERATORS
        return [node for node in self.nodes if node.op_type in multiplying or is_custom(node)]

    def activation(self, layer: NodeProto) -> str:
        """Name the tensor that enters a layer as activation."""
        return str(layer.input[MAC_OPERATORS[layer.op_type][0]])

    def weight(self, layer: NodeProto) -> str:
        """Name the tensor that enters a layer as weight (the second factor of a MatMul)."""
        return str(layer.input[MAC_OPERATORS[layer.op_type][1]])

    def ancestry(self, tensor: str) -> Iterator[str]:
        """Walk from a tensor up through Q/DQ and layout operators: the names it has had."""
        while tensor:
            yield tensor
            node = self.producers.get(tensor)
            through = (QUANTIZE, DEQUANTIZE, "Identity", "Transpose", "Reshape", "Cast")
            tensor = node.input[0] if node is not None and node.op_type in through else ""

    def is_constant(self, tensor: str) -> bool:
        """Say whether a tensor comes from the file alone, directly or through Q/DQ and layout operators."""
        return any(name in self.initializers for name in self.ancestry(tensor))

    def macs(self, layer: NodeProto, output_elements: int | None = None) -> int | None:
        """Count a layer's multiply-accumulates for one image.

        Args:
            layer: One of ``layers()``.
            output_elements: Size of the layer's output at batch 1, used where inference gave none.

        Returns:
            The count, or None where a shape is unknown.
        """
        if layer.op_type in UNCOUNTED_OPERATORS or is_custom(layer):
            return None
        elements = _size(self.shapes.get(layer.output[0])) or output_elements
        if elements is None:
            return None
        if layer.op_type == "MatMulNBits":
            return elements * _integer(layer, "K")
        weight = self._shape(self.weight(layer))
        if not weight or 0 in weight:
            return None
        if layer.op_type == "ConvTranspose":
            return self._transposed(layer, weight)
        if layer.op_type in ("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv"):
            return elements // weight[0] * math.prod(weight)
        return elements * self._inner(layer, weight)

    def _transposed(self, layer: NodeProto, weight: tuple[int, ...]) -> int | None:
        source = _size(self._shape(self.activation(layer)))
        return None if source is None else source // weight[0] * math.prod(weight)

    def _inner(self, layer: NodeProto, weight: tuple[int, ...]) -> int:
        flag = "transB" if layer.op_type in ("Gemm", "FusedGemm", "QGemm", "FusedMatMul", "TransposeMatMul") else ""
        return weight[-1] if flag and _integer(layer, flag) else weight[max(len(weight) - 2, 0)]

    def _shape(self, tensor: str) -> tuple[int, ...] | None:
        return self.shapes.get(tensor) or self.initializers.get(tensor)


def is_custom(node: NodeProto) -> bool:
    """Tell an operator of a library from those of ONNX and the runtimes, whatever its name; local functions inlined."""
    return node.domain not in KNOWN_DOMAINS


def layer_name(node: NodeProto) -> str:
    """Give a node's name, or its first output where it has none."""
    return node.name or node.output[0]


def _size(shape: tuple[int, ...] | None) -> int | None:
    return math.prod(shape) if shape and 0 not in shape else None


def _integer(node: NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _initializers(model: ModelProto) -> dict[str, tuple[int, ...]]:
    found = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
            found[node.output[0]] = tuple(value.dims) if value is not None else ()
    return found


def _stand_in(model: ModelProto, node: NodeProto) -> None:
    """Make a MatMulNBits a MatMul with a weight of the same size in place: inference stops at foreign operators."""
    weight = f"{node.output[0]}/unpacked"
    sizes = [_integer(node, "K"), _integer(node, "N")]
    model.graph.input.append(onnx.helper.make_tensor_value_info(weight, onnx.TensorProto.FLOAT, sizes))
    product = onnx.helper.make_node("MatMul", [node.input[0], weight], list(node.output), node.name)
    node.CopyFrom(product)


def _infer(model: ModelProto) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = {tensor.name for tensor in copy.graph.initializer}
    for value in copy.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and len(dims):
            dims[0].dim_value = 1
    for node in copy.graph.node:
        # The contrib forms differ from the standard ones only in the types they admit.
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            node.domain = ""
        if node.op_type == "MatMulNBits":
            _stand_in(copy, node)
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]  # they may pin another batch size
    graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        types[value.name] = int(value.type.tensor_type.elem_type)
        shapes[value.name] = tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
    return types, shapes
