"""QDQ files in formats that no integer kernel takes: 16-bit activations, and FP8. Placement and ranges are trt-s8's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..core.errors import UnsupportedError
from ..core.ranges import RangeTable
from .batchnorm_as_conv import batchnorm_as_conv
from .graph import attribute, initializers
from .onnx_file import check_model
from .prepare import MAX_IR_VERSION, raise_opset
from .profiles import TENSORRT
from .qdq import quantize
from .wiring import Wiring, operand

_TOP_INT8 = 127


@dataclass(frozen=True, kw_only=True)
class WideFormat:
    """A format and what takes it.

    Attributes:
        profile: The profile's name in the file's metadata.
        kind: Element type of the codes, as in TensorProto.
        top: Code of a range's end.
        weights: Whether weights have the format too; otherwise they are int8.
        opset: The first opset whose Q/DQ know the type.
    """

    profile: str
    kind: int
    top: float
    weights: bool
    opset: int


WIDE: Mapping[str, WideFormat] = {
    "w8a16": WideFormat(profile="trt-s8-a16", kind=TensorProto.INT16, top=32767, weights=False, opset=21),
    "fp8": WideFormat(profile="trt-s8-e4m3", kind=TensorProto.FLOAT8E4M3FN, top=448, weights=True, opset=19),
}
"""The precisions of this file."""


def quantize_wide(
    model: onnx.ModelProto, ranges: RangeTable, *, precision: str, keep_float: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantize a float model to a format that runtimes compute in float, if they take it at all.

    The scale of a tensor maps the end of its range to the format's largest code: 32767 for 16-bit activations, 448 for
    FP8, per tensor for activations and per output channel for weights, all symmetric. Biases stay in float.

    Args:
        model: A prepared float model; not changed.
        ranges: As for `quantize`.
        precision: ``"w8a16"`` (int16 activations, int8 weights) or ``"fp8"`` (E4M3 for both).
        keep_float: Names of nodes that stay in float.

    Returns:
        The QDQ model, with profile and precision in its metadata.

    Raises:
        InputError: As `quantize`.
        UnsupportedError: If the precision is another one, or onnxruntime is missing.

    Reference:
        ONNX operators QuantizeLinear-19 (FP8, saturating) and -21 (int16); Micikevicius et al. 2022, arXiv 2209.05433,
        section 3 (E4M3, largest value 448).
    """
    if precision not in WIDE:
        raise UnsupportedError(f"Expected a precision of {', '.join(WIDE)}, got '{precision}'.")
    form = WIDE[precision]
    source = onnx.ModelProto()
    source.CopyFrom(raise_opset(model, form.opset))
    batchnorm_as_conv(source)  # names the weights that the quantizer sees
    wide = quantize(source, ranges, profile=TENSORRT, keep_float=keep_float)
    _retype(wide.graph, form, initializers(source.graph))
    facts = {entry.key: entry.value for entry in wide.metadata_props}
    named = {"robustmq.profile": form.profile, "robustmq.precision": precision}
    helper.set_model_props(wide, {**facts, **named})
    wide.ir_version = MAX_IR_VERSION
    check_model(wide)
    return wide


def _retype(graph: onnx.GraphProto, form: WideFormat, floats: Mapping[str, onnx.TensorProto]) -> None:
    """Give scales, zero points and, where the format has them, weights their new values; in place."""
    wiring = Wiring.of(graph)
    changed: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        codes = wiring.constant(node.input[0])
        if codes is not None and not form.weights:
            continue
        name, zero = node.input[1], operand(node, 2)
        scale = np.asarray(wiring.constant(name), np.float64) * _TOP_INT8 / form.top
        changed[name] = numpy_helper.from_array(scale.astype(np.float32), name)
        changed[zero] = _tensor(zero, np.zeros(scale.shape), form.kind)
        if codes is not None:
            weight = numpy_helper.to_array(floats[node.input[0].removesuffix("_quantized")])
            changed[node.input[0]] = _tensor(node.input[0], _codes(weight, scale, node, form), form.kind)
    kept = [changed.get(tensor.name, tensor) for tensor in graph.initializer]
    copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _codes(
    weight: NDArray[Any], scale: NDArray[np.float64], node: onnx.NodeProto, form: WideFormat
) -> NDArray[np.float64]:
    """Divide a weight by its scales and saturate it, as QuantizeLinear does before it rounds."""
    shape = [1] * weight.ndim
    if scale.ndim:
        shape[attribute(node, "axis", 1)] = -1
    ratios = weight / scale.astype(np.float32).reshape(shape if scale.ndim else ())
    saturated: NDArray[np.float64] = np.clip(ratios, -form.top, form.top)
    return saturated


def _tensor(name: str, values: NDArray[np.float64], kind: int) -> onnx.TensorProto:
    """Round values, half to even, to a format that can hold them all."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return numpy_helper.from_array(values.astype(dtype).reshape(values.shape), name)
