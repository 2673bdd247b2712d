"""A model without the bytes of its weights, for whatever copies models: inferring shapes, opening sessions.

A ResNet18 holds 47 MB of weights and everything else about it takes 20 kB. Inferring its shapes copies the model four
times, opening a session on it five times, which came to 0.8 s, as much as 16 images.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_SMALL = 1024  # numbers; shape inference reads the values of small constants, such as the scales of Resize


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy whose `large_weights` keep name, type and shape and have their values elsewhere.

    Args:
        model: Any model; it is not changed.

    Returns:
        A model that shape inference reads as it reads the original, and that a session can be opened on once
        `large_weights` are handed to it beside the model.
    """
    copy = onnx.ModelProto(ir_version=model.ir_version, domain=model.domain, model_version=model.model_version)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    copy.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(copy.graph, field).extend(getattr(model.graph, field))
    copy.graph.initializer.extend(
        _elsewhere(tensor) if _is_large(tensor) else tensor for tensor in model.graph.initializer
    )
    return copy


def large_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Give the float32 constants of more than 1024 numbers by name; they may be read-only."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if _is_large(tensor)}


def _is_large(tensor: onnx.TensorProto) -> bool:
    here = tensor.data_location != onnx.TensorProto.EXTERNAL
    return here and tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > _SMALL


def _elsewhere(tensor: onnx.TensorProto) -> onnx.TensorProto:
    elsewhere = onnx.StringStringEntryProto(key="location", value="memory")  # any name: the session is given the values
    return onnx.TensorProto(
        name=tensor.name,
        data_type=tensor.data_type,
        dims=tensor.dims,
        data_location=onnx.TensorProto.EXTERNAL,
        external_data=[elsewhere],
    )
