"""The straight-through estimator for QuantizeLinear and DequantizeLinear on the activations' path.

Rounding is a staircase: its derivative is zero almost everywhere, and an attacker who takes it literally sees a model
that looks robust and is not. The straight-through estimator (Bengio et al. 2013, arXiv 1308.3432) treats the rounding
as the identity and keeps the clipping: the pair's gradient is 1 where the value fits the integer range, 0 where it
saturates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from .emitter import Gradients, Site

_RANGES: Mapping[int, tuple[int, int]] = {
    onnx.TensorProto.UINT8: (0, 255),
    onnx.TensorProto.INT8: (-128, 127),
    onnx.TensorProto.UINT16: (0, 65535),
    onnx.TensorProto.INT16: (-32768, 32767),
    onnx.TensorProto.UINT4: (0, 15),
    onnx.TensorProto.INT4: (-8, 7),
}


def quantize_linear(site: Site) -> Gradients:
    """Pass where x / scale + zero point rounds into the integer range; nothing passes without straight-through."""
    if not site.straight_through:
        return [site.emit.op("Mul", [site.gradient, site.emit.array(0)])]
    low, high = _integer_range(site)
    scale = site.constant(1)
    zero_point = site.constant(2).astype(np.float64) if site.input(2) else np.zeros(1)
    shape = _axis_shape(site, scale.size)
    above = site.emit.array(((low - 0.5 - zero_point) * scale).reshape(shape))
    below = site.emit.array(((high + 0.5 - zero_point) * scale).reshape(shape))
    inside = [site.emit.op("Greater", [site.input(0), above]), site.emit.op("Less", [site.input(0), below])]
    return [site.masked(site.emit.op("And", inside))]


def dequantize_linear(site: Site) -> Gradients:
    """Pass: the scale cancels against that of QuantizeLinear."""
    if site.needs(1) or site.needs(2):
        raise site.refuse("its scale depends on the images")
    return [site.gradient]


def _integer_range(site: Site) -> tuple[int, int]:
    kind = int(site.attribute("output_dtype", 0))
    if site.input(2):
        kind = helper.np_dtype_to_tensor_dtype(site.constant(2).dtype)
    bounds = _RANGES.get(kind or onnx.TensorProto.UINT8)
    if bounds is None:
        raise site.refuse("its integer type has no known range")
    return bounds


def _axis_shape(site: Site, scales: int) -> list[int]:
    if scales == 1:
        return []
    rank = len(site.shape(site.input(0)))
    axis = int(site.attribute("axis", 1)) % rank
    return [scales if place == axis else 1 for place in range(rank)]
