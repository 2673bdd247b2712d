"""The layers whose weights go on a grid, and their weights as rows; what is done to the rows lives elsewhere.

Every such layer is, group by group, a matrix product: its weights are rows of length K, one per output channel, and its
input gives columns of length K, one per output position (a window of the image for Conv).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class Window:
    """How a Conv walks over its input; each entry is one number per spatial axis.

    Attributes:
        kernel: Size of the window.
        strides: Steps between windows.
        dilations: Steps inside a window.
        pads: Zeros before, then zeros behind, twice as many entries.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One Conv, Gemm or MatMul with constant weights.

    Attributes:
        operator: ``Conv``, ``Gemm`` or ``MatMul``.
        weight: Name of the initializer.
        bias: Name of the initializer added to the output, in an Add behind a MatMul too; None if there is none, or
            if something else reads it as well.
        input: Name of the activation it reads.
        output: Name of the activation it writes, before a MatMul's Add.
        axis: The axis of the weight that counts output channels.
        groups: Groups of a Conv, 1 otherwise.
        window: For Conv, else None.
    """

    operator: str
    weight: str
    bias: str | None
    input: str
    output: str
    axis: int
    groups: int
    window: Window | None


def weighted_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Name the layers whose weights can be chosen by their inputs, in the order of computation.

    These are Conv with explicit pads, Gemm as ``x @ w + b`` or ``x @ w.T + b`` and MatMul with a matrix of constants on
    the right, all float32. A Gemm that scales or transposes its input and a Conv with ``auto_pad`` are left out.

    Args:
        model: A float model with its weights as initializers, in topological order.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    adds = {name: node for node in model.graph.node if _is(node, "Add") for name in node.input}
    found = (_layer(node, constants, readers, adds) for node in model.graph.node if _is(node, "Conv", "Gemm", "MatMul"))
    return tuple(layer for layer in found if layer is not None)


def initializer(model: onnx.ModelProto, name: str) -> Floats:
    """Give the values of an initializer.

    Raises:
        KeyError: If there is none of that name.
    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return np.asarray(numpy_helper.to_array(tensor))
    raise KeyError(name)


def set_initializer(model: onnx.ModelProto, name: str, values: Floats) -> None:
    """Replace the values of an initializer in place, or add it if there is none of that name."""
    made = numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(made)
            return
    model.graph.initializer.append(made)


def to_rows(values: NDArray[Any], axis: int, groups: int) -> NDArray[Any]:
    """Give a weight as rows, (groups, channels of a group, K), channels in order, K in the order of the other axes."""
    rows = np.moveaxis(values, axis, 0)
    return rows.reshape(groups, rows.shape[0] // groups, -1)


def from_rows(rows: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[Any]:
    """Undo `to_rows`: give the weight in its own shape."""
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def _layer(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], readers: Counter[str], adds: dict[str, onnx.NodeProto]
) -> Layer | None:
    weight = constants.get(node.input[1])
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT or node.input[0] in constants:
        return None
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    rank = len(weight.dims)
    window = _window(attributes, tuple(weight.dims)) if node.op_type == "Conv" else None
    plain = {
        "Conv": window is not None,
        "Gemm": attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0),
        "MatMul": rank == 2,
    }
    if not plain[node.op_type]:
        return None
    return Layer(
        operator=node.op_type,
        weight=weight.name,
        bias=next((name for name in _biases(node, constants, readers, adds)), None),
        input=node.input[0],
        output=node.output[0],
        axis=0 if node.op_type == "Conv" or attributes.get("transB", 0) else 1,
        groups=int(attributes.get("group", 1)) if node.op_type == "Conv" else 1,
        window=window,
    )


def _window(attributes: dict[str, Any], shape: tuple[int, ...]) -> Window | None:
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    axes = len(shape) - 2
    return Window(
        kernel=shape[2:],
        strides=tuple(attributes.get("strides", [1] * axes)),
        dilations=tuple(attributes.get("dilations", [1] * axes)),
        pads=tuple(attributes.get("pads", [0] * 2 * axes)),
    )


def _biases(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], readers: Counter[str], adds: dict[str, onnx.NodeProto]
) -> Iterator[str]:
    names = list(node.input[2:3])
    if node.op_type == "MatMul" and readers[node.output[0]] == 1 and node.output[0] in adds:
        names = [name for name in adds[node.output[0]].input if name != node.output[0]]
    for name in names:
        if name in constants and readers[name] == 1 and len(constants[name].dims) == 1:
            yield name


def _is(node: onnx.NodeProto, *operators: str) -> bool:
    return node.domain in _STANDARD and node.op_type in operators
