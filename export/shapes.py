"""Shape inference, and the shapes it gives as plain tuples."""

from __future__ import annotations

import onnx
from onnx import shape_inference

from ..core.errors import InputError
from .onnx_file import one_line

Dims = tuple[int | str | None, ...]
"""A tensor's shape: sizes, names of dynamic axes, None where nothing is known."""


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy whose every tensor carries the shape and type that follow from the inputs.

    Shapes the file itself claims for intermediate tensors are dropped first, so that a wrong claim is not kept.

    Raises:
        InputError: If the operators contradict each other.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"The model's shapes contradict each other: {one_line(error)}. Export it again.") from error


def shape_table(model: onnx.ModelProto) -> dict[str, Dims]:
    """Give the shape of every tensor whose rank is known: inputs, outputs, intermediate ones and constants.

    Args:
        model: A model that went through `infer_shapes`.

    Returns:
        Tensor name to its dimensions.
    """
    graph = model.graph
    table: dict[str, Dims] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.value_info, *graph.output, *graph.input):
        found = dims(entry)
        if found is not None:
            table[entry.name] = found
    return table


def dims(entry: onnx.ValueInfoProto) -> Dims | None:
    """Give the declared dimensions of one tensor, or None where not even its rank is declared."""
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(_size(dim) for dim in tensor.shape.dim)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
