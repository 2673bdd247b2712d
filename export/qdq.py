"""Ready ranges in, a QDQ model out. ONNX Runtime's quantizer places the Q/DQ nodes; nothing is calibrated here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_bytes
from ..core.ranges import RangeTable
from .batchnorm_as_conv import batchnorm_as_conv
from .codomain import clip_bounds, codomains
from .float_guard import guard_float_layers
from .fuse_activations import fuse_activations
from .graph import check_nodes, consumers, initializers, is_standard
from .onnx_file import check_model, one_line, opset, serialize
from .prepare import MAX_IR_VERSION, MIN_OPSET, raise_opset
from .profiles import Profile, find_profile
from .quiet import quiet_quantizer
from .require import require
from .shapes import infer_shapes
from .weight_forms import store_weights

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INFERRED = "onnx.infer"  # ONNX Runtime's mark for "shapes are inferred"; without it, it writes temporary files


def quantize(
    model: onnx.ModelProto,
    ranges: RangeTable,
    *,
    precision: str = "w8a8",
    profile: str = "cpu-u8",
    weights_as: str = "int8",
    keep_float: Sequence[str] = (),
) -> onnx.ModelProto:
    """Quantize a float model to QDQ form with ready activation ranges.

    A range is narrowed to what its operator can give (never below 0 behind a Relu), so that a Relu or Clip that is
    left to the quantizer's saturation computes what it did. A Softmax at the output stays in float: on 256 levels of
    [0, 1] most of 1000 probabilities would be 0.

    Args:
        model: A prepared float model; not changed.
        ranges: At least the tensors of `quantizable_tensors`; others are ignored.
        precision: What the numbers are rounded to, e.g. ``"w8a8"``.
        profile: A name of `PROFILES`.
        weights_as: ``"int8"`` or ``"float"``: how weights are stored; both compute the same, see `store_weights`.
        keep_float: Names of nodes that stay in float.

    Returns:
        The QDQ model, with profile, precision, calibration method and the source's sha256 in its metadata.

    Raises:
        InputError: If a range is missing or not finite, a weight is not finite, the model is quantized already, or a
            name in ``keep_float`` is no node's.
        UnsupportedError: If the precision is not available, or onnxruntime is missing.
    """
    chosen = find_profile(profile, precision=precision)
    source = _source(model, chosen)
    check_nodes(source.graph, keep_float)
    names = _candidates(source)
    given = {name: _bounds(name, ranges.ranges[name]) for name in names if name in ranges.ranges}
    quantized, used = _place(source, {**dict.fromkeys(names, (0.0, 1.0)), **given}, chosen, keep_float)
    missing = [name for name in used if name not in given]
    if missing:
        raise InputError(
            f"The range table lacks {len(missing)} of {len(used)} tensors: {_some(missing)}. Calibrate this model anew."
        )
    quantized = store_weights(quantized, weights_as)
    guard_float_layers(quantized, keep_float)
    _stamp(quantized, model, ranges, chosen)
    check_model(quantized)
    return quantized


def quantizable_tensors(model: onnx.ModelProto, *, precision: str = "w8a8", profile: str = "cpu-u8") -> tuple[str, ...]:
    """Give the activation tensors whose ranges `quantize` needs, in the graph's order.

    Tensors that share another one's scale (behind Reshape, MaxPool, ...) and outputs that a Relu or Clip clips at once
    are not among them.

    Raises:
        InputError: If the model is quantized already.
        UnsupportedError: If the precision is not available, or onnxruntime is missing.
    """
    chosen = find_profile(profile, precision=precision)
    source = _source(model, chosen)
    names = _candidates(source)
    # One scale per weight tensor is ten times faster and places the same activations.
    return _place(source, dict.fromkeys(names, (0.0, 1.0)), replace(chosen, per_channel=False))[1]


def _source(model: onnx.ModelProto, profile: Profile) -> onnx.ModelProto:
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise InputError("The model is quantized already. Pass the float model it came from.")
    if opset(model) < MIN_OPSET:
        raise InputError(f"Expected an opset of at least {MIN_OPSET}, got {opset(model)}. Run `prepare` first.")
    source = infer_shapes(raise_opset(model, profile.min_opset))
    batchnorm_as_conv(source)
    _check_weights(source.graph)
    return source


def _check_weights(graph: onnx.GraphProto) -> None:
    """Refuse weights that have no scale; an infinity elsewhere may be a mask."""
    weighted = {name for node in graph.node if is_standard(node, *_WEIGHTED) for name in node.input[1:]}
    for name, tensor in initializers(graph).items():
        is_weight = name in weighted and tensor.data_type == onnx.TensorProto.FLOAT
        if is_weight and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise InputError(f"Weight '{name}' holds values that are not finite. Export the model again.")


def _candidates(source: onnx.ModelProto) -> tuple[str, ...]:
    """Give every float tensor that is no constant, in the graph's order."""
    graph = source.graph
    described = {entry.name: entry for entry in (*graph.value_info, *graph.output, *graph.input)}
    constant = initializers(graph)
    order = [name for node in graph.node for name in (*node.input, *node.output)]
    return tuple(
        name
        for name in dict.fromkeys(order)
        if name in described
        and name not in constant
        and described[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    )


def _bounds(name: str, pair: tuple[float, float]) -> tuple[float, float]:
    low, high = float(pair[0]), float(pair[1])
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"Expected low <= high, both finite, as range of tensor '{name}', got ({low}, {high}).")
    return low, high


def _place(
    source: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    profile: Profile,
    keep_float: Sequence[str] = (),
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Run the quantizer; give its model and the tensors whose own range went into a scale."""
    library = require("onnxruntime.quantization", "Quantization")
    work = onnx.ModelProto()
    work.CopyFrom(source)
    helper.set_model_props(work, {**_metadata(work), _INFERRED: "onnxruntime.quant"})
    kinds = {"uint8": library.QuantType.QUInt8, "int8": library.QuantType.QInt8}
    quantizer = require("onnxruntime.quantization.qdq_quantizer", "Quantization").QDQQuantizer(
        work,
        per_channel=profile.per_channel,
        reduce_range=False,
        weight_qType=kinds[profile.weights],
        activation_qType=kinds[profile.activations],
        tensors_range=_tensors_data(ranges, source.graph),
        nodes_to_quantize=[],
        nodes_to_exclude=[*_float_nodes(source.graph), *keep_float],
        op_types_to_quantize=_operators(),
        extra_options={
            "ActivationSymmetric": profile.symmetric_activations,
            "QuantizeBias": not profile.float_bias,
        },
    )
    with quiet_quantizer(), np.errstate(all="ignore"):
        try:
            quantized: onnx.ModelProto = quantizer.quantize_model()
            quantizer.model.topological_sort()  # the quantizer appends its nodes at the end
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise UnsupportedError(f"ONNX Runtime's quantizer does not take this model: {one_line(error)}.") from error
    if profile.fused_activations:
        fuse_activations(quantized.graph)
    read = consumers(quantized.graph)
    scales = {name: value.original.scale_name for name, value in quantizer.quantized_value_map.items()}
    own = (name for name in ranges if scales.get(name) == f"{name}_scale")
    return quantized, tuple(name for name in own if read[f"{name}_scale"])


def _tensors_data(ranges: Mapping[str, tuple[float, float]], graph: onnx.GraphProto) -> Any:
    calibrate = require("onnxruntime.quantization.calibrate", "Quantization")
    limits = codomains(graph)
    data = {}
    for name, (low, high) in ranges.items():
        bottom, top = limits.get(name, (-math.inf, math.inf))
        clipped = (np.array(min(max(bound, bottom), top), np.float32) for bound in (low, high))
        data[name] = tuple(clipped)
    return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data)


def _operators() -> list[str]:
    registry = require("onnxruntime.quantization.registry", "Quantization")
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def _float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Name the nodes that stay in float: a Softmax at the output, a Clip that saturation cannot replace."""
    outputs = {entry.name for entry in graph.output}
    readers = consumers(graph)
    kept = []
    for node in graph.node:
        if is_standard(node, "Softmax", "LogSoftmax") and (node.output[0] in outputs or readers[node.output[0]] == 0):
            kept.append(node.name)
        if is_standard(node, "Clip"):
            bounds = clip_bounds(graph, node)
            if bounds is None or bounds[0] > 0 or bounds[1] < 0:
                kept.append(node.name)
    return kept


def _stamp(quantized: onnx.ModelProto, model: onnx.ModelProto, ranges: RangeTable, profile: Profile) -> None:
    facts = {
        "robustmq.profile": profile.name,
        "robustmq.precision": profile.precision,
        "robustmq.calibration": f"{ranges.method} over {ranges.images} images",
        "robustmq.source_sha256": sha256_bytes(serialize(model)),
    }
    helper.set_model_props(quantized, {**_metadata(model), **facts})
    quantized.ir_version = min(quantized.ir_version, MAX_IR_VERSION)
    quantized.producer_name = "robustmq-trt"
    del quantized.graph.value_info[:]


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
