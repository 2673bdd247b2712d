"""The exact rewrite of signed int8 activations into the uint8 form that ONNX Runtime's CPU kernels run in integers.

A code q of int8 becomes q + 128, or q itself where it cannot be negative; scales, and so every dequantized number, stay
what they are. What cannot be rewritten exactly is left alone and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..core.files import sha256_bytes
from .codomain import clip_bounds
from .graph import add_initializer, attribute, is_standard, remove_dead, replace_nodes, set_attribute, unique_name
from .onnx_file import serialize
from .weight_forms import store_weights
from .wiring import Wiring, operand

_LOW, _HIGH = -128, 127
_CARRYING = (
    *("DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth"),
    *("Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators whose output holds nothing but values of their first input."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A model in the form ONNX Runtime's CPU kernels run in integers.

    Attributes:
        model: The rewritten model; the same function of its input, to the last bit of a run in float.
        notes: What could not be rewritten exactly and was left as it is, one sentence each.
    """

    model: onnx.ModelProto
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Codes:
    """One quantized activation: the Q that writes its codes, what clips them, and the DQs that read them.

    ``tightest`` is the least upper bound among the Clips, 127 without any.
    """

    quantize: onnx.NodeProto
    clips: tuple[onnx.NodeProto, ...]
    dequantizes: tuple[onnx.NodeProto, ...]
    scale: np.float32
    zero: int
    tightest: int


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """How far the codes move, and the bounds they get there; None where uint8's own bounds do it.

    ``around`` names the float tensor to quantize instead, where a Relu or Clip is replaced by the bounds.
    """

    offset: int
    low: int | None = None
    high: int | None = None
    around: str | None = None


_Plan = dict[str, tuple[_Codes, _Shift]]


def lower(model: onnx.ModelProto) -> Lowered:
    """Rewrite the int8 activations of a QDQ model into uint8, exactly.

    Behind a Relu or a Clip the float operator goes: the codes start at 0 and an integer Clip bounds them at
    ``min(127, round(upper / scale))``. Without that Clip uint8 would reach 255 where int8 saturates at 127. Weights
    stored as floats become codes.

    Args:
        model: A QDQ model with int8 activations, one scale per tensor; not changed. One with uint8 activations comes
            back as it is.

    Returns:
        The rewritten model and what was left alone. Check it with `prove_equal` before relying on it.
    """
    work = store_weights(model, "int8")
    wiring = Wiring.of(work.graph)
    notes: list[str] = []
    plan: _Plan = {}
    for node in work.graph.node:
        if is_standard(node, "QuantizeLinear"):
            found = _codes(wiring, node)
            if isinstance(found, str):
                notes.append(f"'{node.output[0]}' was left as it is: {found}.")
            elif found is not None:
                plan[node.output[0]] = (found, _shift(work.graph, wiring, found, plan, notes))
    if plan:
        _apply(work, wiring, plan)
        helper.set_model_props(work, {**_metadata(model), "robustmq.lowered_from": sha256_bytes(serialize(model))})
    return Lowered(model=work, notes=tuple(notes))


def _codes(wiring: Wiring, quantize: onnx.NodeProto) -> _Codes | str | None:
    """Collect what belongs to a Q; None where it is uint8 already, a reason where it cannot be rewritten."""
    scale, zero = wiring.constant(operand(quantize, 1)), wiring.constant(operand(quantize, 2))
    declared = attribute(quantize, "output_dtype", 0)
    if operand(quantize, 2) and zero is None:
        return "its zero point is computed"
    kind = helper.tensor_dtype_to_np_dtype(declared or onnx.TensorProto.UINT8) if zero is None else zero.dtype
    if kind == np.uint8:
        return None
    if kind != np.int8:
        return f"its codes are {kind}, which no integer kernel of this runtime reads"
    if scale is None or scale.size != 1 or scale.dtype != np.float32:
        return "its scale is no single float32 constant"
    found = _readers(wiring, quantize)
    if isinstance(found, str):
        return found
    clips = tuple(node for node in found if node.op_type == "Clip")
    tops = [int(np.asarray(wiring.constant(clip.input[2])).item()) for clip in clips if operand(clip, 2)]
    return _Codes(
        quantize=quantize,
        clips=clips,
        dequantizes=tuple(node for node in found if node.op_type != "Clip"),
        scale=np.float32(scale.item()),
        zero=0 if zero is None else int(zero.item()),
        tightest=min(tops, default=_HIGH),
    )


def _readers(wiring: Wiring, quantize: onnx.NodeProto) -> list[onnx.NodeProto] | str:
    """Follow the codes through integer Clips to their DQs."""
    found: list[onnx.NodeProto] = []
    names = [quantize.output[0]]
    while names:
        name = names.pop()
        if name in wiring.outputs:
            return "its codes are an output of the model"
        for node in wiring.readers_of(name):
            bounds = [bound for bound in node.input[1:] if bound]
            clips = is_standard(node, "Clip") and all(wiring.constant(bound) is not None for bound in bounds)
            if not (clips or is_standard(node, "DequantizeLinear")) or node.input[0] != name:
                return f"its codes are read by {node.op_type} '{node.name or node.output[0]}'"
            found.append(node)
            names.extend(node.output if clips else ())
    return found


def _shift(graph: onnx.GraphProto, wiring: Wiring, codes: _Codes, plan: _Plan, notes: list[str]) -> _Shift:
    source = codes.quantize.input[0]
    activation = wiring.producer(source, "Relu", "Clip")
    if codes.zero == 0 and activation is not None:
        bounds = clip_bounds(graph, activation)
        alone = len(wiring.readers_of(source)) == 1 and source not in wiring.outputs
        if bounds is not None and bounds[0] <= bounds[1] and alone:
            return _bounded(codes, _code_bounds(bounds, codes.scale), activation.input[0])
        reason = "its output is read elsewhere too" if not alone else "its bounds are not constant"
        notes.append(f"{activation.op_type} '{activation.name}' stays in float: {reason}.")
    if _carries_unsigned(wiring, codes, plan):
        return _Shift(offset=0)
    return _Shift(offset=-_LOW)


def _bounded(codes: _Codes, bounds: tuple[int, int], around: str) -> _Shift:
    """Give codes the bounds of the Relu or Clip they replace; where none is negative they need no offset."""
    offset = 0 if bounds[0] >= 0 and codes.tightest >= 0 else -_LOW
    low, high = bounds[0] + offset, bounds[1] + offset
    needs_high = high < _HIGH - _LOW and not _clipped_at_once(codes, bounds[1])
    return _Shift(offset=offset, low=low if low > 0 else None, high=high if needs_high else None, around=around)


def _clipped_at_once(codes: _Codes, high: int) -> bool:
    """Tell whether all codes go through one Clip that is at least as tight."""
    return (
        len(codes.clips) == 1
        and codes.tightest <= high
        and not any(node.input[0] == codes.quantize.output[0] for node in codes.dequantizes)
    )


def _code_bounds(bounds: tuple[float, float], scale: np.float32) -> tuple[int, int]:
    """Give the lowest and highest code behind a Relu or Clip; rounding is monotone, so bounds round as values do."""
    low, high = np.clip(np.rint(np.array(bounds, np.float32) / scale), _LOW, _HIGH)
    return int(low), int(high)


def _carries_unsigned(wiring: Wiring, codes: _Codes, plan: _Plan) -> bool:
    """Tell whether the values come, unchanged and at the same scale, from codes that already start at 0."""
    carrier = wiring.producer(codes.quantize.input[0], *_CARRYING)
    dequantize = None if carrier is None else wiring.producer(carrier.input[0], "DequantizeLinear")
    writer = None if dequantize is None else wiring.producer(dequantize.input[0])
    while writer is not None and writer.op_type == "Clip":
        writer = wiring.producer(writer.input[0])
    origin = None if writer is None else plan.get(writer.output[0])
    if origin is None or codes.tightest < 0:
        return False
    before, shift = origin
    return shift.offset == 0 and before.scale == codes.scale and before.zero == codes.zero == 0


def _apply(work: onnx.ModelProto, wiring: Wiring, plan: _Plan) -> None:
    graph = work.graph
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if is_standard(node, "QuantizeLinear") and node.output[0] in plan:
            codes, shift = plan[node.output[0]]
            _move(graph, wiring, codes, shift)
            if shift.low is not None or shift.high is not None:
                nodes.append(_clip(graph, codes, shift))
    replace_nodes(graph, nodes)
    del graph.value_info[:]  # element types have changed
    remove_dead(graph)


def _move(graph: onnx.GraphProto, wiring: Wiring, codes: _Codes, shift: _Shift) -> None:
    """Shift zero points and integer bounds; every number the DQs give stays what it was."""
    zero = np.uint8(codes.zero + shift.offset)
    for node in (codes.quantize, *codes.dequantizes):
        shape = np.asarray(wiring.constant(node.input[1])).shape
        name = _store(graph, f"u8_zero_point_{zero}_{len(shape)}", np.full(shape, zero))
        del node.input[2:]
        node.input.append(name)
    if attribute(codes.quantize, "output_dtype", 0):
        set_attribute(codes.quantize, "output_dtype", onnx.TensorProto.UINT8)
    if shift.around is not None:
        codes.quantize.input[0] = shift.around
    for clip in codes.clips:
        for index, name in enumerate(clip.input):
            if index > 0 and name:
                bound = max(0, int(np.asarray(wiring.constant(name)).item()) + shift.offset)
                clip.input[index] = _store(graph, f"u8_bound_{bound}", np.array(bound, np.uint8))


def _clip(graph: onnx.GraphProto, codes: _Codes, shift: _Shift) -> onnx.NodeProto:
    """Make the integer Clip between a Q and its DQs."""
    stem = codes.quantize.output[0]
    output = unique_name(graph, f"{stem}_clipped")
    bounds = [
        "" if bound is None else _store(graph, f"u8_bound_{bound}", np.array(bound, np.uint8))
        for bound in (shift.low, shift.high)
    ]
    for node in (*codes.clips, *codes.dequantizes):
        if node.input[0] == stem:
            node.input[0] = output
    while not bounds[-1]:
        bounds.pop()
    clip: onnx.NodeProto = helper.make_node("Clip", [stem, *bounds], [output], name=f"{output}_node")
    return clip


def _store(graph: onnx.GraphProto, stem: str, value: Any) -> str:
    """Give the name of a constant with this content, adding it where it is new."""
    name = f"robustmq_{stem}"
    if all(tensor.name != name for tensor in graph.initializer):
        add_initializer(graph, name, np.asarray(value))
    return name


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
