"""Activations on grids of 2-8 bits inside their 8-bit containers. Weights and biases are not touched here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..core.errors import InputError
from .graph import add_initializer, is_standard, replace_nodes, unique_name
from .grid_ranges import Step, asymmetric_step, symmetric_step
from .layer_bits import LayerBits
from .wiring import Wiring

_CARRYING = ("Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def put_activations(graph: onnx.GraphProto, bits: LayerBits, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Give every activation its bits: a new scale and zero point for Q and DQ, and an integer Clip between them.

    Args:
        graph: A QDQ graph; changed in place.
        bits: What each node asks for.
        ranges: What `effective_ranges` gives.

    Raises:
        InputError: If the range of a tensor below 8 bits is missing.
    """
    wiring = Wiring.of(graph)
    clipped: dict[str, onnx.NodeProto] = {}
    for scale, group in scale_groups(graph, wiring).items():
        width = asked_bits(wiring, group, bits)
        if width == 8:
            continue
        if owner(scale) not in ranges:
            raise InputError(f"The range table lacks tensor '{owner(scale)}'. Calibrate this model anew.")
        step = _rescale(wiring, group[0], ranges[owner(scale)], width)
        for quantize in group:
            if not _carries(wiring, quantize):
                clipped[quantize.output[0]] = _clip(graph, quantize, step)
    replace_nodes(graph, _with_clips(graph, clipped))


def scale_groups(graph: onnx.GraphProto, wiring: Wiring) -> dict[str, list[onnx.NodeProto]]:
    """Give the Q nodes of activations by the scale they share."""
    groups: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if is_standard(node, "QuantizeLinear") and node.input[0] not in wiring.stored:
            groups[node.input[1]].append(node)
    return dict(groups)


def owner(scale: str) -> str:
    """Give the tensor whose range a scale was made from."""
    return scale.removesuffix("_scale")


def asked_bits(wiring: Wiring, group: list[onnx.NodeProto], bits: LayerBits) -> int:
    """Give the most bits that a reader of the group asks for; the graph's output asks too."""
    asked = [2]
    for quantize in group:
        for dequantize in wiring.readers_of(quantize.output[0]):
            asked += [bits.output] if dequantize.output[0] in wiring.outputs else []
            for reader in wiring.readers_of(dequantize.output[0]):
                within = any(q.input[0] in reader.output for q in group)
                asked += [] if within else [bits.activations(reader.name)]
    return max(asked)


def _rescale(wiring: Wiring, quantize: onnx.NodeProto, pair: tuple[float, float], bits: int) -> Step:
    """Overwrite the scale and zero point that a group of Q and DQ nodes share."""
    scale, zero = (wiring.stored[name] for name in quantize.input[1:3])
    signed = zero.data_type == onnx.TensorProto.INT8
    step = (symmetric_step if signed else asymmetric_step)(*pair, bits)
    for tensor, value in ((scale, step.scale), (zero, np.asarray(step.zero, np.int8 if signed else np.uint8))):
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value).reshape(tuple(tensor.dims)), tensor.name))
    return step


def _carries(wiring: Wiring, quantize: onnx.NodeProto) -> bool:
    """Tell whether a Q only writes again what it got on the same grid."""
    writer = wiring.producer(quantize.input[0], *_CARRYING)
    before = wiring.producer(writer.input[0], "DequantizeLinear") if writer is not None else None
    return before is not None and before.input[1] == quantize.input[1]


def _clip(graph: onnx.GraphProto, quantize: onnx.NodeProto, step: Step) -> onnx.NodeProto:
    """Build the Clip behind a Q; it takes over the name of the Q's output."""
    output, dtype = quantize.output[0], np.int8 if step.lowest < 0 else np.uint8
    quantize.output[0] = unique_name(graph, f"{output}_unclipped")
    bounds = []
    for end, code in (("lowest", step.lowest), ("highest", step.highest)):
        name = f"grid_{end}_{code}"
        if all(tensor.name != name for tensor in graph.initializer):
            add_initializer(graph, name, np.asarray(code, dtype))
        bounds.append(name)
    node: onnx.NodeProto = helper.make_node("Clip", [quantize.output[0], *bounds], [output], name=f"{output}_Clip")
    return node


def _with_clips(graph: onnx.GraphProto, clipped: Mapping[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    behind = {node.input[0]: node for node in clipped.values()}
    for node in graph.node:
        yield node
        if node.output[0] in behind:
            yield behind[node.output[0]]
