"""Rules on where Q and DQ stand: around layers, before activations, on both sides of an Add, and in pairs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from .fuse_activations import ACTIVATIONS, pair_before
from .graph import attribute, is_standard
from .lint_rules import Finding, found
from .lint_view import Step, View, node_name
from .wiring import operand

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FOUR_BIT = (TensorProto.INT4, TensorProto.FLOAT4E2M1)


def placement_findings(view: View) -> Iterator[Finding]:
    """Check how a file's Q and DQ stand to each other and to the layers around them."""
    for node in view.graph.node:
        if node.output and node.output[0] in view.steps:
            yield from _ends(view, view.steps[node.output[0]])
        elif is_standard(node, *LAYERS):
            yield from _layer(view, node)
        elif is_standard(node, "Add"):
            yield from _add(view, node)
        elif is_standard(node, *ACTIVATIONS, "BatchNormalization"):
            pair = pair_before(view.wiring, node)
            if pair is not None:
                message = f"{node.op_type} '{node_name(node)}' reads what was just quantized."
                yield found("before-activation", node_name(pair[0]), message)


def _ends(view: View, step: Step) -> Iterator[Finding]:
    name, output = node_name(step.node), step.node.output[0]
    readers = view.wiring.readers_of(output)
    if not readers and output not in view.wiring.outputs:
        yield found("dangling", name, "Nothing reads its output.")
    if step.quantizes:
        others = [node for node in readers if node.op_type != "DequantizeLinear"]
        if others or output in view.wiring.outputs:
            who = f"{others[0].op_type} '{node_name(others[0])}'" if others else "the caller of the model"
            yield found("codes-read", name, f"Its codes are read by {who}.")
        return
    before = view.origin(step)
    if before is None and not step.weight and view.wiring.producer(step.node.input[0]) is None:
        yield found("dangling", name, "Its codes are an input of the model.")
    same = before is None or before.scale is None or step.scale is None or _equal(before, step)
    if not same:
        yield found("pair", name, "Its scale differs from that of the Q before it.")


def _equal(first: Step, second: Step) -> bool:
    if first.scale is None or second.scale is None:
        return False
    return first.scale.size == second.scale.size and bool((first.scale.ravel() == second.scale.ravel()).all())


def _layer(view: View, node: onnx.NodeProto) -> Iterator[Finding]:
    name = node_name(node)
    data, weight = (view.dequantized(operand(node, index)) for index in (0, 1))
    if data is not None and weight is None and operand(node, 1) in view.wiring.stored:
        yield found("float-weight", name, f"{node.op_type} reads quantized data and float weights.")
    if weight is None or not weight.weight:
        return
    four = weight.kind in _FOUR_BIT
    if data is None and not four:
        yield found("float-input", name, f"{node.op_type} reads float data and quantized weights.")
    if four and node.op_type in _CONVOLUTIONS:
        yield found("four-bit-conv", name, f"{node.op_type} reads {weight.type_name} weights.")
    yield from _axis(view, node, weight)


def _axis(view: View, node: onnx.NodeProto, weight: Step) -> Iterator[Finding]:
    """Compare the axis of the scales with the axis of output channels, where each weight has its own."""
    if weight.scale is None or weight.scale.ndim != 1 or weight.scale.size == 1:
        return
    rank = len(view.shapes.get(node.input[1], ())) or 2
    transposed = attribute(node, "transB", 0)
    wanted = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1}.get(node.op_type, rank - 1)
    axis = int(attribute(weight.node, "axis", 1)) % rank
    if axis != wanted:
        message = f"{node.op_type} has its output channels on axis {wanted}, the scales run along axis {axis}."
        yield found("weight-axis", node_name(weight.node), message)


def _add(view: View, node: onnx.NodeProto) -> Iterator[Finding]:
    sides = [name for name in node.input if name not in view.wiring.stored]
    floats = [name for name in sides if view.dequantized(name) is None]
    if len(sides) != 2 or len(floats) != 1 or any(step.weight for step in map(view.dequantized, sides) if step):
        return
    layer = view.wiring.producer(floats[0], *LAYERS)
    fused = layer is not None and len(view.wiring.readers_of(floats[0])) == 1
    if fused and layer is not None:
        yield found("fused-add", node_name(node), f"Its float input comes straight from {layer.op_type}.")
    else:
        yield found("half-quantized-add", node_name(node), f"Input '{floats[0]}' is float, the other one quantized.")
