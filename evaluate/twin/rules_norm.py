"""Gradients of normalisations over positions: InstanceNormalization and GroupNormalization."""

from __future__ import annotations

import math

from .emitter import Gradients, Site

_CHANNEL_SCALES = 21  # from this opset on, GroupNormalization scales channels; before, groups


def instance_normalization(site: Site) -> Gradients:
    """Normalise each channel on its own."""
    return [_normalised(site, site.static(site.input(0), 1))]


def group_normalization(site: Site) -> Gradients:
    """Normalise groups of channels.

    Reference:
        Wu & He 2018, arXiv 1803.08494, eq. 1 to 3, differentiated.
    """
    if site.graph.opset < _CHANNEL_SCALES:
        raise site.refuse(f"it scales groups; export with opset {_CHANNEL_SCALES} or newer")
    return [_normalised(site, int(site.attribute("num_groups", 1)))]


def _normalised(site: Site, groups: int) -> str:
    """Write (h - mean h - z mean(h z)) / deviation per group, h = gradient times scale, z the normalised input.

    Means are products with a column of shares: ReduceMean's last bits may depend on the batch size.
    """
    if site.needs(1) or site.needs(2):
        raise site.refuse("its scale or bias depends on the images")
    emit, x = site.emit, site.input(0)
    sizes = [site.static(x, axis) for axis in range(1, len(site.shape(x)))]
    count = math.prod(sizes) // groups
    rows = emit.integers([-1, groups, count])
    column = emit.array([[1 / count]] * count)
    scale = emit.array(site.constant(1).reshape(1, -1, *[1] * (len(sizes) - 1)))
    flat = emit.op("Reshape", [x, rows])
    centred = emit.op("Sub", [flat, emit.op("MatMul", [flat, column])])
    variance = emit.op("MatMul", [emit.op("Mul", [centred, centred]), column])
    deviation = emit.op("Sqrt", [emit.op("Add", [variance, emit.array(site.attribute("epsilon", 1e-5))])])
    z = emit.op("Div", [centred, deviation])
    h = emit.op("Reshape", [emit.op("Mul", [site.gradient, scale]), rows])
    lean = emit.op("Mul", [z, emit.op("MatMul", [emit.op("Mul", [h, z]), column])])
    rest = emit.op("Sub", [emit.op("Sub", [h, emit.op("MatMul", [h, column])]), lean])
    return site.reshaped(emit.op("Div", [rest, deviation]), x)
