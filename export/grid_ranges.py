"""Scale and zero point of an activation on b bits, by the rule that placed the 8-bit ones. No graph is changed here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from ..core.errors import InputError
from ..core.ranges import RangeTable
from .codomain import codomains
from .graph import consumers, is_standard


@dataclass(frozen=True, kw_only=True)
class Step:
    """The grid of one activation inside its 8-bit container: value = (code - zero) * scale.

    Attributes:
        scale: Distance of two levels, float32.
        zero: Code of the value 0.
        lowest: Smallest code.
        highest: Largest code.
    """

    scale: np.float32
    zero: int
    lowest: int
    highest: int


def asymmetric_step(low: float, high: float, bits: int) -> Step:
    """Give the grid of ``2**bits`` levels in uint8 whose range is widened to hold zero, and zero among its levels.

    A range without extent, or too small for float32, gets scale 1 and zero point 0.

    Reference:
        ``compute_scale_zp`` in ONNX Runtime 1.31, with ``2**bits - 1`` in place of 255.
    """
    highest = 2**bits - 1
    low, high = min(float(np.float32(low)), 0.0), max(float(np.float32(high)), 0.0)
    scale = (high - low) / highest
    if scale < np.finfo(np.float32).tiny:
        return Step(scale=np.float32(1), zero=0, lowest=0, highest=highest)
    return Step(scale=np.float32(scale), zero=int(np.rint(-low / scale)), lowest=0, highest=highest)


def symmetric_step(low: float, high: float, bits: int) -> Step:
    """Give the grid of ``2**bits - 1`` levels around zero in int8, zero point 0.

    Reference:
        ``compute_scale_zp`` in ONNX Runtime 1.31, symmetric, with ``2**(bits - 1) - 1`` in place of 127.
    """
    highest = 2 ** (bits - 1) - 1
    peak = max(abs(float(np.float32(low))), abs(float(np.float32(high))))
    scale = 2 * peak / (2 * highest)
    if scale < np.finfo(np.float32).tiny:
        scale = 1.0
    return Step(scale=np.float32(scale), zero=0, lowest=-highest, highest=highest)


def effective_ranges(model: onnx.ModelProto, ranges: RangeTable) -> Mapping[str, tuple[float, float]]:
    """Give the ranges as the quantizer sees them.

    What Relu and Clip cannot give is cut off, a tensor that only leads into one of them has the range behind it, and a
    Softmax gives 0 to 1.

    Raises:
        InputError: If a range is not finite or upside down.
    """
    limits = codomains(model.graph)
    found = {}
    for name, (low, high) in ranges.ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise InputError(
                f"Expected low <= high, both finite, as range of tensor '{name}', got ({low}, {high}). Calibrate anew."
            )
        bottom, top = limits.get(name, (-math.inf, math.inf))
        found[name] = (min(max(low, bottom), top), min(max(high, bottom), top))
    readers = consumers(model.graph)
    for node in model.graph.node:
        if is_standard(node, "Softmax"):
            found[node.output[0]] = (0.0, 1.0)
        if is_standard(node, "Relu", "Clip") and readers[node.input[0]] == 1 and node.output[0] in found:
            found[node.input[0]] = found[node.output[0]]
    return found
