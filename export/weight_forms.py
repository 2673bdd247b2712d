"""The two ways to store a quantized weight: as its codes behind a DQ, or as floats behind a Q/DQ pair. Same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..core.errors import unknown
from .graph import add_initializer, attribute, is_standard, remove_dead, replace_nodes, unique_name
from .wiring import Wiring, operand

WEIGHT_FORMS = ("int8", "float")


def store_weights(model: onnx.ModelProto, weights_as: str) -> onnx.ModelProto:
    """Give a QDQ model with its int8 weights stored in one of two forms that compute the same.

    Args:
        model: A QDQ model of any precision whose weights are int8 constants; not changed.
        weights_as: ``"int8"``: codes behind a DequantizeLinear, a quarter of the size. ``"float"``: the values those
            codes stand for, behind QuantizeLinear and DequantizeLinear, which gives the same codes again.

    Returns:
        The same network; weights that are in the wanted form already are left alone.

    Raises:
        InputError: If the form is unknown.
    """
    if weights_as not in WEIGHT_FORMS:
        raise unknown("weight form", weights_as, WEIGHT_FORMS)
    work = onnx.ModelProto()
    work.CopyFrom(model)
    if weights_as == "int8":
        _store_codes(work.graph)
    else:
        _store_values(work.graph)
    return work


def _store_values(graph: onnx.GraphProto) -> None:
    wiring = Wiring.of(graph)
    nodes = []
    for node in graph.node:
        codes = wiring.constant(operand(node, 0)) if is_standard(node, "DequantizeLinear") else None
        if codes is not None and codes.dtype == np.int8:
            nodes.append(_quantize_before(graph, wiring, node, codes))
        nodes.append(node)
    replace_nodes(graph, nodes)
    remove_dead(graph)


def _quantize_before(
    graph: onnx.GraphProto, wiring: Wiring, node: onnx.NodeProto, codes: NDArray[np.int8]
) -> onnx.NodeProto:
    """Put the Q in front of a weight's DQ; the DQ now reads the Q."""
    scale, zero = _numbers(wiring, node, codes.ndim)
    stem = node.input[0].removesuffix("_quantized")
    values = unique_name(graph, f"{stem}_values")
    add_initializer(graph, values, ((codes - zero.astype(np.float32)) * scale).astype(np.float32))
    output = unique_name(graph, f"{stem}_codes")
    if len(node.input) < 3:
        node.input.append(unique_name(graph, f"{stem}_zero_point"))
        add_initializer(graph, node.input[2], np.zeros_like(wiring.constant(node.input[1]), np.int8))
    inputs = [values, node.input[1], node.input[2]]
    quantize: onnx.NodeProto = helper.make_node("QuantizeLinear", inputs, [output], name=output)
    quantize.attribute.extend(entry for entry in node.attribute if entry.name in ("axis", "block_size"))
    node.input[0] = output
    return quantize


def _store_codes(graph: onnx.GraphProto) -> None:
    wiring = Wiring.of(graph)
    for node in graph.node:
        codes = _codes(wiring, node) if is_standard(node, "QuantizeLinear") else None
        if codes is not None:
            graph.initializer.append(numpy_helper.from_array(codes, node.output[0]))
            node.output[0] = unique_name(graph, f"{node.output[0]}_unused")
    remove_dead(graph)


def _codes(wiring: Wiring, node: onnx.NodeProto) -> NDArray[np.int8] | None:
    """Compute a constant's int8 codes as QuantizeLinear does: divide, round half to even, shift, saturate."""
    values, zero = wiring.constant(node.input[0]), wiring.constant(operand(node, 2))
    if values is None or zero is None or wiring.constant(node.input[1]) is None:
        return None
    if zero.dtype != np.int8 or attribute(node, "block_size", 0):
        return None
    scale, zero = _numbers(wiring, node, values.ndim)
    levels = np.rint(values / scale) + zero.astype(np.float32)
    codes: NDArray[np.int8] = np.clip(levels, -128, 127).astype(np.int8)
    return codes


def _numbers(wiring: Wiring, node: onnx.NodeProto, rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give scale and zero point in a shape that broadcasts over the data."""
    scale = np.asarray(wiring.constant(node.input[1]))
    zero = wiring.constant(operand(node, 2))
    zero = np.zeros(scale.shape, np.int8) if zero is None else zero
    if scale.size == 1:
        return scale.reshape(()), zero.reshape(())
    if scale.ndim != 1:
        return scale, zero
    shape = [1] * rank
    shape[attribute(node, "axis", 1)] = -1
    return scale.reshape(shape), zero.reshape(shape)
