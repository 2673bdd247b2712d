"""Casts whose target is written as "the type of that tensor" become plain casts, which constant folding understands."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .graph import attribute, is_standard, set_attribute

_UNKNOWN = TensorProto.UNDEFINED


def fold_types(model: onnx.ModelProto) -> None:
    """Replace CastLike by Cast in place, and drop a Cast to the type its input has already.

    Args:
        model: A model that went through `infer_shapes`; where a type is unknown, the node stays.
    """
    graph = model.graph
    types = _element_types(graph)
    for node in graph.node:
        if is_standard(node, "CastLike") and (target := types.get(node.input[1], _UNKNOWN)):
            node.op_type = "Cast"
            del node.input[1]
            del node.attribute[:]
            set_attribute(node, "to", target)
        if is_standard(node, "Cast") and types.get(node.input[0], _UNKNOWN) == attribute(node, "to", None):
            node.op_type = "Identity"
            del node.attribute[:]


def _element_types(graph: onnx.GraphProto) -> dict[str, int]:
    described = [*graph.input, *graph.value_info, *graph.output]
    types = {entry.name: entry.type.tensor_type.elem_type for entry in described}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
