"""Reading the model OpenVINO compiles for the audit: its multiplying layers, their MACs, why one stays float."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NOT_DETERMINED = "reason not determined"
# Operators whose work is counted; the number says how many leading axes of the weight the count leaves out.
_CONVOLUTIONS = {"Convolution": 1, "GroupConvolution": 2}
_TRANSPOSED = {"ConvolutionBackpropData": 1, "GroupConvolutionBackpropData": 2}
MAC_OPERATORS = frozenset((*_CONVOLUTIONS, *_TRANSPOSED, "MatMul"))
# Operators that multiply too, but whose MACs are not counted here: with one of them nothing is proven.
UNCOUNTED_OPERATORS = frozenset(
    (
        "BinaryConvolution",
        "DeformableConvolution",
        "Einsum",
        "GRUCell",
        "GRUSequence",
        "If",
        "LSTMCell",
        "LSTMSequence",
        "Loop",
        "RNNCell",
        "RNNSequence",
        "ScaledDotProductAttention",
        "TensorIterator",
    )
)
# OpenVINO splits an ONNX layer with a bias in two; the first half carries this ending.
_HALF = "/WithoutBiases"
# What stands between an 8-bit grid and the layer that reads it.
_DEQUANTIZATION = frozenset(("Convert", "FakeConvert", "Multiply", "Reshape", "Subtract", "Transpose", "Unsqueeze"))
_EIGHT_BITS = ("i8", "u8")
_LEVELS_OF_EIGHT_BITS = 256


def layers(model: Any) -> list[Any]:
    """Give the nodes of an ``openvino.Model`` that multiply and accumulate, in topological order."""
    wanted = MAC_OPERATORS | UNCOUNTED_OPERATORS
    return [node for node in model.get_ordered_ops() if node.get_type_name() in wanted]


def source_name(layer: Any) -> str:
    """Give the name a layer has in its file."""
    return str(layer.get_friendly_name()).removesuffix(_HALF)


def macs(layer: Any) -> int | None:
    """Count a layer's multiply-accumulates for one image.

    Args:
        layer: One of ``layers()``, of a model whose batch is 1.

    Returns:
        The count, or None where a shape is unknown or the operator's work is not counted.
    """
    kind = layer.get_type_name()
    shapes = [_shape(layer.input_value(0)), _shape(layer.output(0))]
    weight = _shape(layer.input_value(1)) if layer.get_input_size() > 1 else None
    source, output = shapes
    if kind not in MAC_OPERATORS or source is None or output is None or weight is None:
        return None
    if kind in _CONVOLUTIONS:
        return math.prod(output) * math.prod(weight[_CONVOLUTIONS[kind] :])
    if kind in _TRANSPOSED:
        return math.prod(source) * math.prod(weight[_TRANSPOSED[kind] :])
    transposed = bool(layer.get_attributes().get("transpose_a")) and len(source) > 1
    return math.prod(output) * source[-2 if transposed else -1]


def why_float(model: Any, layer: Any) -> str:
    """Give the first cause that explains why a layer is not run by an integer kernel.

    Args:
        model: The ``openvino.Model`` the layer belongs to.
        layer: A node of it that multiplies.

    Returns:
        One clause for a person, or ``reason not determined``.
    """
    if layer.get_type_name() not in MAC_OPERATORS:
        return "operator has no integer kernel"
    rules: tuple[Callable[[Any, Any], str], ...] = (_float_model, _weight, _activation)
    return next((reason for rule in rules if (reason := rule(model, layer))), NOT_DETERMINED)


def _float_model(model: Any, layer: Any) -> str:
    quantized = any(
        node.get_type_name() == "FakeQuantize" or _stored_in_few_bits(node) for node in model.get_ordered_ops()
    )
    return "" if quantized else "float model"


def _weight(model: Any, layer: Any) -> str:
    found = list(_ancestry(layer.input_value(1)))
    bottom = found[-1]
    if bottom.get_type_name() == "Constant":
        kind = _element_type(bottom.output(0))
        if _is_float(kind):
            return "weights are float"
        return "" if kind in _EIGHT_BITS else f"weight type {kind} has no integer kernel"
    return _unquantized(bottom, layer.input_value(1)) or _too_many_levels(bottom, "weight")


def _activation(model: Any, layer: Any) -> str:
    bottom = list(_ancestry(layer.input_value(0)))[-1]
    return _unquantized(bottom, layer.input_value(0)) or _too_many_levels(bottom, "activation")


def _unquantized(bottom: Any, port: Any) -> str:
    if bottom.get_type_name() == "FakeQuantize":
        return ""
    return f"input tensor '{source_name(port.get_node())}' has no QuantizeLinear"


def _too_many_levels(quantize: Any, role: str) -> str:
    levels = int(quantize.get_attributes().get("levels", _LEVELS_OF_EIGHT_BITS))
    return f"{role} grid of {levels} levels has no integer kernel" if levels > _LEVELS_OF_EIGHT_BITS else ""


def _ancestry(port: Any) -> Iterator[Any]:
    """Walk from a layer's input up through dequantization to the node that quantizes, or the first other one."""
    node = port.get_node()
    yield node
    while node.get_type_name() in _DEQUANTIZATION:
        node = node.input_value(0).get_node()
        yield node


def _stored_in_few_bits(node: Any) -> bool:
    """Say whether a node is a weight that is no float: a constant of integers with more than one axis."""
    if node.get_type_name() != "Constant" or len(node.get_output_partial_shape(0)) < 2:
        return False
    return not _is_float(_element_type(node.output(0))) and _element_type(node.output(0)) not in ("i32", "i64")


def _is_float(kind: str) -> bool:
    return kind in ("f16", "bf16", "f32", "f64")


def _element_type(port: Any) -> str:
    return str(port.get_element_type().get_type_name())


def _shape(port: Any) -> tuple[int, ...] | None:
    shape = port.get_partial_shape()
    return tuple(int(side.get_length()) for side in shape) if shape.is_static else None


def operator_of(layer: Any, operators: Mapping[str, str]) -> str:
    """Give a layer's operator as its file spells it.

    Args:
        layer: One of ``layers()``.
        operators: Layer name to ONNX operator; empty for an IR.
    """
    return operators.get(source_name(layer), str(layer.get_type_name()))
