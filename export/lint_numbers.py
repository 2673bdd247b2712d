"""Rules on the numbers of each Q and DQ: types, zero points, scales, axes, blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .graph import attribute
from .lint_rules import Finding, found
from .lint_view import Step, View, node_name
from .shapes import Dims
from .wiring import operand

_TAKEN = (TensorProto.INT8, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1)
_FOUR_BIT = (TensorProto.INT4, TensorProto.FLOAT4E2M1)
_SCALES = ("float32", "float16", "bfloat16")
_BLOCKS = (64, 128)


def number_findings(view: View) -> Iterator[Finding]:
    """Check every quantization of a file by its numbers alone."""
    for step in view.first_steps():
        yield from _type(view, step)
        yield from _zero(step)
        yield from _scale(view, step)
        if step.kind in _FOUR_BIT:
            yield from _four_bit(view, step)
        if step.weight:
            yield from _codes(view, step)


def is_int32_bias(view: View, step: Step) -> bool:
    """Tell whether a DQ gives a layer its bias from int32 codes."""
    readers = view.wiring.readers_of(step.node.output[0])
    return step.kind == TensorProto.INT32 and any(operand(node, 2) == step.node.output[0] for node in readers)


def _type(view: View, step: Step) -> Iterator[Finding]:
    name = node_name(step.node)
    if is_int32_bias(view, step):
        yield found("int32-bias", name, "A bias is stored as int32 codes.")
    elif step.quantizes and not step.typed and not operand(step.node, 2):
        yield found("default-type", name, "Its type is left to the default.")
    elif step.kind == TensorProto.UINT8:
        offset = step.zero is not None and bool(np.any(step.zero))
        taken = "is refused for its zero point" if offset else "is taken as INT8, which saturates at 127 instead of 255"
        yield found("uint8", name, f"Its codes are uint8, which {taken}.")
    elif step.kind not in _TAKEN:
        yield found("type", name, f"Its codes are {step.type_name}.")


def _zero(step: Step) -> Iterator[Finding]:
    if operand(step.node, 2) and step.zero is None:
        yield found("constant", node_name(step.node), "Its zero point is computed.")
    elif step.zero is not None and np.any(step.zero.astype(np.float32)):
        values = step.zero.astype(np.float32)
        yield found("zero-point", node_name(step.node), f"Its zero point goes up to {np.abs(values).max():g}.")


def _scale(view: View, step: Step) -> Iterator[Finding]:
    name, scale = node_name(step.node), step.scale
    if scale is None:
        yield found("constant", name, "Its scale is computed.")
        return
    if str(scale.dtype) not in _SCALES:
        yield found("scale-type", name, f"Its scale is {scale.dtype}.")
    numbers = scale.astype(np.float32)
    if not (numbers.size and np.isfinite(numbers).all() and (numbers > 0).all()):
        least = numbers.min() if numbers.size else "none"
        yield found("scale-value", name, f"Its smallest scale is {least}.")
    if scale.size > 1:
        yield from _many_scales(view, step, scale)
    if step.zero is not None and step.zero.size != scale.size:
        yield found("scale-count", name, f"It has {scale.size} scales and {step.zero.size} zero points.")


def _many_scales(view: View, step: Step, scale: NDArray[Any]) -> Iterator[Finding]:
    name, shape = node_name(step.node), view.shapes.get(step.node.input[0])
    if not step.weight:
        yield found("activation-axis", name, f"An activation has {scale.size} scales.")
    if shape is None:
        return
    axis = int(attribute(step.node, "axis", 1))
    if scale.ndim == 1:
        inside = -len(shape) <= axis < len(shape)
        if not inside or shape[axis] != scale.size:
            yield found("scale-count", name, f"It has {scale.size} scales for axis {axis} of shape {list(shape)}.")
    elif scale.ndim != len(shape):
        yield found("scale-count", name, f"Its scales have rank {scale.ndim}, its data rank {len(shape)}.")
    else:
        yield from _blocks(step, scale, shape)


def _blocks(step: Step, scale: NDArray[Any], shape: Dims) -> Iterator[Finding]:
    name = node_name(step.node)
    sizes = [(size, count) for size, count in zip(shape, scale.shape, strict=True) if size != count]
    whole = all(isinstance(size, int) and size % count == 0 for size, count in sizes)
    if len(sizes) != 1 or not whole:
        yield found("blocks", name, f"Scales of shape {list(scale.shape)} block data of shape {list(shape)}.")
        return
    size, count = sizes[0]
    block = size // count if isinstance(size, int) else 0
    if step.kind == TensorProto.INT4 and block not in _BLOCKS:
        yield found("block-size", name, f"Its blocks have {block} weights.")


def _four_bit(view: View, step: Step) -> Iterator[Finding]:
    name, shape = node_name(step.node), view.shapes.get(step.node.input[0], ())
    sizes = [size for size in shape if isinstance(size, int)]
    if shape and len(sizes) == len(shape) and math.prod(sizes) % 2:
        yield found("four-bit-odd", name, f"Its data have {math.prod(sizes)} elements.")
    if step.kind == TensorProto.INT4 and not step.weight:
        yield found("four-bit-activation", name, "An activation is quantized to INT4.")


def _codes(view: View, step: Step) -> Iterator[Finding]:
    if step.quantizes or step.kind != TensorProto.INT8:
        return
    codes = view.wiring.constant(step.node.input[0])
    if codes is not None and codes.size and codes.min() < -127:
        yield found("weight-code", node_name(step.node), "A weight has code -128.")
