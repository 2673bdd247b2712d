"""Folding of shape arithmetic: chains such as Shape → Gather → Concat → Reshape, also under a dynamic batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .graph import add_initializer, attribute, initializers, is_standard, remove_dead, set_reshape_target, unique_name
from .shapes import Dims, shape_table

Symbols = NDArray[np.object_]
"""A shape being computed: whole numbers where they are known, an axis' name or None where they are not."""


def fold_shapes(model: onnx.ModelProto) -> None:
    """Replace shape arithmetic by constants where it is known, in place.

    A Reshape whose target depends on a dynamic axis gets the equivalent constant target: 0 ("as in the input") where
    the axis is the input's own at that place, -1 for one single other unknown.

    Args:
        model: A model that went through `infer_shapes`.
    """
    graph = model.graph
    shapes = shape_table(model)
    symbols = _symbols(graph, shapes)
    constant = set(initializers(graph))
    for name, value in symbols.items():
        if name not in constant and _is_known(value):
            _replace_by_constant(graph, name, value.astype(np.int64))
    for node in graph.node:
        if is_standard(node, "Reshape") and node.input[1] in symbols:
            _fix_reshape(graph, node, symbols[node.input[1]], shapes.get(node.input[0]))
    remove_dead(graph)


def _symbols(graph: onnx.GraphProto, shapes: Mapping[str, Dims]) -> dict[str, Symbols]:
    constants = initializers(graph)
    found: dict[str, Symbols] = {}
    for node in graph.node:
        result = _shape_of(node, shapes) if is_standard(node, "Shape") else _propagate(node, found, constants)
        if result is not None:
            found[node.output[0]] = result
    return found


def _shape_of(node: onnx.NodeProto, shapes: Mapping[str, Dims]) -> Symbols | None:
    dims = shapes.get(node.input[0])
    if dims is None:
        return None
    window = slice(attribute(node, "start", 0), attribute(node, "end", None))
    return _objects(list(dims)[window])


def _objects(items: list[Any]) -> Symbols:
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result


def _propagate(
    node: onnx.NodeProto, found: Mapping[str, Symbols], constants: Mapping[str, onnx.TensorProto]
) -> Symbols | None:
    if not any(name in found for name in node.input):
        return None
    operands = [found.get(name, _small_integers(constants.get(name))) for name in node.input]
    if any(operand is None for operand in operands):
        return None
    try:
        return _apply(node, [operand for operand in operands if operand is not None])
    except (IndexError, ValueError, TypeError):
        return None


def _small_integers(tensor: onnx.TensorProto | None) -> Symbols | None:
    integer = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    if tensor is None or tensor.data_type not in integer or np.prod(tensor.dims) > 64:
        return None
    return numpy_helper.to_array(tensor).astype(object)


def _apply(node: onnx.NodeProto, operands: list[Symbols]) -> Symbols | None:
    first = operands[0]
    if is_standard(node, "Gather") and attribute(node, "axis", 0) == 0:
        return np.asarray(first[operands[1].astype(np.int64)], dtype=object)
    if is_standard(node, "Concat"):
        return np.concatenate(operands)
    if is_standard(node, "Unsqueeze") and first.ndim == 0:
        return first.reshape(1)
    if is_standard(node, "Squeeze") and first.size == 1:
        return first.reshape(())
    if is_standard(node, "Identity") or (is_standard(node, "Cast") and attribute(node, "to", 0) == 7):
        return first
    if is_standard(node, "Slice") and first.ndim == 1:
        step = int(operands[4].item()) if len(operands) > 4 else 1
        return first[int(operands[1].item()) : int(operands[2].item()) : step]
    return None


def _is_known(value: Symbols) -> bool:
    return all(isinstance(item, int) for item in value.ravel())


def _replace_by_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.int64]) -> None:
    for node in graph.node:
        if name in node.output:
            index = list(node.output).index(name)
            node.output[index] = unique_name(graph, f"{name}_folded")
    add_initializer(graph, name, value)


def _fix_reshape(graph: onnx.GraphProto, node: onnx.NodeProto, target: Symbols, data: Dims | None) -> None:
    if _is_known(target) or target.ndim != 1 or data is None or (attribute(node, "allowzero", 0) and 0 in target):
        return
    constant = [_own_axis(item, index, data) for index, item in enumerate(target)]
    if constant.count(None) == 1 and -1 not in constant:
        constant[constant.index(None)] = -1
    if None not in constant:
        set_reshape_target(graph, node, [item for item in constant if item is not None])


def _own_axis(item: int | str | None, index: int, data: Dims) -> int | None:
    if isinstance(item, int):
        return item
    return 0 if item is not None and index < len(data) and data[index] == item else None
