"""A model in half precision as the same model in single: every float16 is a float32, so no weight changes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import attribute, is_standard, set_attribute


def to_single(graph: onnx.GraphProto) -> bool:
    """Make every float16 tensor of a graph float32, in place: input, output, constants, and what nodes make.

    What a half-precision engine rounds in between is not rounded any more.

    Args:
        graph: A graph whose constants are initializers.

    Returns:
        Whether there was one.
    """
    ports = [entry.type.tensor_type for entry in (*graph.input, *graph.output)]
    ports = [port for port in ports if port.elem_type == TensorProto.FLOAT16]
    constants = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    makers = [node for node in graph.node if _made(node) == TensorProto.FLOAT16]
    for port in ports:
        port.elem_type = TensorProto.FLOAT
    for tensor in constants:
        tensor.CopyFrom(_single(tensor))
    for node in makers:
        if node.op_type == "Cast":
            set_attribute(node, "to", TensorProto.FLOAT)
        else:
            set_attribute(node, "value", _single(attribute(node, "value", None)))
    return bool(ports or constants or makers)


def _made(node: onnx.NodeProto) -> int:
    """Give the type that a node's attribute fixes for its output, or 0."""
    if is_standard(node, "Cast"):
        return int(attribute(node, "to", 0))
    filling = attribute(node, "value", None) if is_standard(node, "ConstantOfShape") else None
    return 0 if filling is None else int(filling.data_type)


def _single(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
