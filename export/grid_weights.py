"""Weights on grids of 2-8 bits inside int8, and the biases that follow. Activations are not touched here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ..core.codes import WeightCodes, codes_for, round_to_nearest
from ..core.errors import InputError, unknown
from .graph import attribute, is_standard, set_attribute
from .layer_bits import WEIGHTED, LayerBits
from .wiring import Wiring, operand

Floats = NDArray[np.float32]

_LARGEST_BIAS = 2**30
"""Half of int32's range for the bias; the other half holds the sum of 60 000 products of full size."""


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A weight of the file: its name in the float model, the DQs that read it, the layers that read those."""

    name: str
    dequantizes: tuple[onnx.NodeProto, ...]
    layers: tuple[onnx.NodeProto, ...]


def put_weights(
    graph: onnx.GraphProto, floats: Mapping[str, Floats], bits: LayerBits, given: Mapping[str, WeightCodes]
) -> None:
    """Give every weight its codes and every bias a value that the integer sum can hold.

    An int32 bias gets the scale that goes with its input and weight. A float bias is rounded to that scale unless the
    whole file is on 8 bits: runtimes that add it in integers round it anyway, and on few bits that turns answers over
    (ResNet20 at w4a4, signed: more than half of them differed from the simulation, none do now).

    Args:
        graph: A QDQ graph whose activations have their final scales; changed in place.
        floats: Weights and biases of the float model by name.
        bits: What each node asks for.
        given: Codes by the weight's name; what is missing is rounded to nearest, or stays as it is at 8 bits.

    Raises:
        InputError: If codes are given for an unknown weight, or do not fit theirs.
    """
    wiring = Wiring.of(graph)
    slots = _slots(graph, wiring)
    for name in given:
        if name not in slots:
            raise unknown("weight", name, slots)
    for slot in slots.values():
        codes = _codes(slot, wiring, floats, bits, given.get(slot.name))
        if codes is not None:
            codes = _with_room(slot, wiring, floats, codes)
            _write(slot, wiring, codes)
        for layer in slot.layers:
            _write_bias(slot, layer, wiring, floats)
            _write_float_bias(slot, layer, wiring, floats, narrow=bits.narrow)


def _slots(graph: onnx.GraphProto, wiring: Wiring) -> dict[str, _Slot]:
    """Give the weights by name in the float model."""
    found: dict[str, _Slot] = {}
    for node in graph.node:
        stored = wiring.stored.get(node.input[0]) if is_standard(node, "DequantizeLinear") else None
        if stored is None or stored.data_type != onnx.TensorProto.INT8:
            continue
        readers = wiring.readers_of(node.output[0])
        layers = tuple(r for r in readers if is_standard(r, *WEIGHTED) and operand(r, 1) == node.output[0])
        if layers:
            name = node.input[0].removesuffix("_quantized")
            old = found.get(name, _Slot(name=name, dequantizes=(), layers=()))
            found[name] = _Slot(name=name, dequantizes=(*old.dequantizes, node), layers=(*old.layers, *layers))
    return found


def _codes(
    slot: _Slot, wiring: Wiring, floats: Mapping[str, Floats], bits: LayerBits, given: WeightCodes | None
) -> WeightCodes | None:
    """Give the codes of a weight, or None where the file's own stay."""
    width = max(bits.weights(layer.name) for layer in slot.layers)
    shape = tuple(wiring.stored[slot.dequantizes[0].input[0]].dims)
    axis = _axis(slot, len(shape))
    if given is None:
        weight = floats.get(slot.name)
        return (
            None
            if width == 8
            else round_to_nearest(_dequantized(slot, wiring) if weight is None else weight, width, axis)
        )
    if given.codes.shape != shape or given.axis != axis or given.bits != width:
        raise InputError(
            f"Expected codes of {width} bits, shape {shape} and axis {axis} for weight '{slot.name}', got "
            f"{given.bits} bits, shape {given.codes.shape} and axis {given.axis}."
        )
    return given


def _axis(slot: _Slot, rank: int) -> int:
    """Give the axis of a weight that counts output channels, 0 <= axis < rank."""
    layer = slot.layers[0]
    if is_standard(layer, "Conv"):
        return 0
    if is_standard(layer, "Gemm"):
        return 0 if attribute(layer, "transB", 0) else 1
    return 1 if is_standard(layer, "ConvTranspose") else rank - 1


def _scales(slot: _Slot, wiring: Wiring) -> Floats:
    """Give the weight's scales as they are in the file now: (channels,), or (1,) for a single one."""
    return numpy_helper.to_array(wiring.stored[slot.dequantizes[0].input[1]]).astype(np.float32).reshape(-1)


def _dequantized(slot: _Slot, wiring: Wiring) -> Floats:
    codes = numpy_helper.to_array(wiring.stored[slot.dequantizes[0].input[0]])
    shape = [1] * codes.ndim
    shape[_axis(slot, codes.ndim)] = -1
    return np.asarray(codes * _scales(slot, wiring).reshape(shape), np.float32)


def _with_room(slot: _Slot, wiring: Wiring, floats: Mapping[str, Floats], codes: WeightCodes) -> WeightCodes:
    """Widen the scales of channels whose bias would not fit into int32; their weights are next to nothing."""
    scales = codes.scales
    for layer in slot.layers:
        bias = _bias(layer, wiring, floats)
        if bias is not None and bias.size == scales.size:
            least = np.abs(bias.astype(np.float64)) / (_LARGEST_BIAS * np.float64(_input_scale(layer, wiring)))
            scales = np.maximum(scales, least.astype(np.float32))
    return codes if scales is codes.scales else codes_for(codes.values(), scales, codes.bits, codes.axis)


def _write(slot: _Slot, wiring: Wiring, codes: WeightCodes) -> None:
    for dequantize in slot.dequantizes:
        _overwrite(wiring, dequantize, codes.codes, codes.scales)
        set_attribute(dequantize, "axis", codes.axis)


# Biases


def _bias(layer: onnx.NodeProto, wiring: Wiring, floats: Mapping[str, Floats]) -> Floats | None:
    """Give a layer's bias, from the float model where it has it; None for one that is not stored as int32."""
    dequantize = wiring.producer(operand(layer, 2), "DequantizeLinear")
    stored = wiring.stored.get(dequantize.input[0]) if dequantize is not None else None
    if dequantize is None or stored is None or stored.data_type != onnx.TensorProto.INT32:
        return None
    known = floats.get(dequantize.input[0].removesuffix("_quantized"))
    scale = numpy_helper.to_array(wiring.stored[dequantize.input[1]])
    return np.asarray(numpy_helper.to_array(stored) * scale, np.float32) if known is None else known


def _input_scale(layer: onnx.NodeProto, wiring: Wiring) -> np.float32:
    dequantize = wiring.producer(layer.input[0], "DequantizeLinear")
    if dequantize is None:
        raise InputError(f"The input of layer '{layer.name}' is not quantized, but its bias is. Quantize it anew.")
    return np.float32(numpy_helper.to_array(wiring.stored[dequantize.input[1]]).item())


def _write_bias(slot: _Slot, layer: onnx.NodeProto, wiring: Wiring, floats: Mapping[str, Floats]) -> None:
    """Store a bias with the scale at which it joins the integer sum: the input's times the weight's."""
    bias = _bias(layer, wiring, floats)
    if bias is None:
        return
    dequantize = wiring.producers[layer.input[2]]
    scale = np.asarray(_input_scale(layer, wiring) * _scales(slot, wiring), np.float32)
    codes = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    limits = np.iinfo(np.int32)
    _overwrite(wiring, dequantize, np.clip(codes, limits.min, limits.max).astype(np.int32), scale)
    if scale.size > 1:
        set_attribute(dequantize, "axis", 0)


def _write_float_bias(
    slot: _Slot, layer: onnx.NodeProto, wiring: Wiring, floats: Mapping[str, Floats], *, narrow: bool
) -> None:
    """Store the float model's bias, on a narrow grid as a multiple of the step of the integer sum."""
    name = operand(layer, 2)
    tensor = wiring.stored.get(name)
    if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or len(wiring.readers_of(name)) > 1:
        return
    bias = floats.get(name, numpy_helper.to_array(tensor))
    if narrow:
        unit = (_input_scale(layer, wiring) * _scales(slot, wiring)).astype(np.float64)
        bias = np.asarray(np.rint(bias / unit) * unit, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(bias, name))


def _overwrite(wiring: Wiring, dequantize: onnx.NodeProto, codes: NDArray[np.integer[Any]], scales: Floats) -> None:
    """Give a DQ other codes and scales, zero point 0."""
    arrays: tuple[NDArray[Any], ...] = (codes, scales, np.zeros(scales.shape, codes.dtype))
    for name, array in zip(dequantize.input, arrays, strict=False):
        tensor = wiring.stored[name]
        shape = tuple(tensor.dims) if array.size == 1 else array.shape
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).reshape(shape), name))
