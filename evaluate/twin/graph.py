"""A model's forward graph as the rules read it: constants folded, shapes known, the path from the input marked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference, version_converter
from onnx.reference import ReferenceEvaluator

from ...core.errors import UnsupportedError

OLDEST_OPSET = 16  # ScatterElements gained `reduction` there
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_CUTS_GRADIENT = frozenset({"Shape", "Size", "ConstantOfShape"})

Shape = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class ForwardGraph:
    """A classifier's graph with every constant known by value.

    Attributes:
        nodes: Nodes that depend on the input, in execution order.
        constants: Value of every tensor that does not.
        shapes: Tensor name to shape; None stands for an unknown size, the batch as a rule.
        active: Tensors that a change of the input changes smoothly.
        input_name: The image batch.
        output_name: The scores.
        dtype: Floating-point type of the input.
        opset: Version of the ONNX operators.
        ir_version: Version of the ONNX file format.
    """

    nodes: Sequence[onnx.NodeProto]
    constants: Mapping[str, NDArray[np.generic]]
    shapes: Mapping[str, Shape]
    active: frozenset[str]
    input_name: str
    output_name: str
    dtype: np.dtype[np.generic]
    opset: int
    ir_version: int

    def shape(self, name: str, node: onnx.NodeProto) -> Shape:
        """Give the shape of a tensor.

        Raises:
            UnsupportedError: If shape inference did not find its rank.
        """
        shape = self.shapes.get(name)
        if shape is None:
            raise UnsupportedError(
                f"Node {node.name!r} ({node.op_type}): the rank of tensor {name!r} is unknown. "
                "Export the model with fixed sizes except for the batch."
            )
        return shape

    def kept_constants(self, used: Collection[str]) -> list[onnx.TensorProto]:
        """Give the constants among the names used, as initializers of a graph."""
        return [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used]


def read_forward(model: onnx.ModelProto) -> ForwardGraph:
    """Fold constants, infer shapes and mark the path from the input to the output.

    Raises:
        UnsupportedError: If the graph has not exactly one float input and one output.
    """
    model = _modern(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1 or inputs[0].type.tensor_type.elem_type not in _FLOATS:
        raise UnsupportedError(
            f"Expected one float input and one output, got {len(inputs)} inputs and {len(model.graph.output)} outputs. "
            "Gradients need the float or QDQ classifier."
        )
    nodes = _fold(model, constants)
    return ForwardGraph(
        nodes=nodes,
        constants=constants,
        shapes=_shapes(model, nodes, constants),
        active=_active(nodes, inputs[0].name),
        input_name=inputs[0].name,
        output_name=model.graph.output[0].name,
        dtype=np.dtype(helper.tensor_dtype_to_np_dtype(inputs[0].type.tensor_type.elem_type)),
        opset=_opset(model),
        ir_version=model.ir_version,
    )


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    return model if _opset(model) >= OLDEST_OPSET else version_converter.convert_version(model, OLDEST_OPSET)


def _fold(model: onnx.ModelProto, constants: dict[str, NDArray[np.generic]]) -> list[onnx.NodeProto]:
    """Evaluate every node whose inputs are all constant, weights behind DequantizeLinear included."""
    remaining = []
    for index, node in enumerate(model.graph.node):
        if all(not name or name in constants for name in node.input):
            feed = {name: constants[name] for name in node.input if name}
            # The reference implementation knows DequantizeLinear from opset 19 on; it means the same in older files.
            version = max(_opset(model), 21) if node.op_type == "DequantizeLinear" else _opset(model)
            values = ReferenceEvaluator(node, opsets={"": version}).run(None, feed)
            constants.update(zip(node.output, (np.asarray(value) for value in values), strict=False))
        else:
            remaining.append(_named(node, index))
    return remaining


def _named(node: onnx.NodeProto, index: int) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = node.name or f"{node.op_type}_{index}"
    return copy


def _shapes(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, NDArray[np.generic]]
) -> dict[str, Shape]:
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "forward", list(model.graph.input), list(model.graph.output), initializers)
    plain = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    inferred = shape_inference.infer_shapes(plain, data_prop=True).graph
    shapes: dict[str, Shape] = {name: tuple(map(int, value.shape)) for name, value in constants.items()}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
            )
    return shapes


def _active(nodes: Sequence[onnx.NodeProto], input_name: str) -> frozenset[str]:
    active = {input_name}
    for node in nodes:
        if node.op_type not in _CUTS_GRADIENT and active.intersection(node.input):
            active.update(name for name in node.output if name)
    return frozenset(active)
