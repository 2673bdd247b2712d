"""Gradients of operators that only move values: reshape, transpose, slice, pad, concatenate."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import numpy as np

from .emitter import Gradients, Site


def reshape(site: Site) -> Gradients:
    """Reshape back: Flatten, Reshape, Squeeze and Unsqueeze."""
    return [site.reshaped(site.gradient, site.input(0))]


def transpose(site: Site) -> Gradients:
    """Transpose by the inverse permutation."""
    rank = len(site.shape(site.input(0)))
    order = site.attribute("perm", range(rank)[::-1])
    return [site.emit.op("Transpose", [site.gradient], {"perm": np.argsort(order).tolist()})]


def slice_(site: Site) -> Gradients:
    """Put each value back where it was read, zero elsewhere; steps of any size and sign."""
    starts, ends = site.constant(1), site.constant(2)
    axes = site.constant(3) if site.input(3) else np.arange(len(starts))
    steps = site.constant(4) if site.input(4) else np.ones(len(starts), dtype=np.int64)
    gradient = site.gradient
    for axis, start, end, step in zip(axes.tolist(), starts.tolist(), ends.tolist(), steps.tolist(), strict=True):
        gradient = _unslice(site, gradient, axis, slice(*_bounds(start, end, step), step))
    return [gradient]


def pad(site: Site) -> Gradients:
    """Cut the padding off."""
    if site.attribute("mode", b"constant") != b"constant":
        raise site.refuse("only constant padding is differentiated")
    rank = len(site.shape(site.input(0)))
    axes = site.constant(3).tolist() if site.input(3) else list(range(rank))
    pads = site.constant(1).tolist()
    begin, end = pads[: len(axes)], pads[len(axes) :]
    if min(pads, default=0) < 0:
        raise site.refuse("negative padding cuts values off")
    used = [place for place in range(len(axes)) if begin[place] or end[place]]
    if not used:
        return [site.gradient]
    starts = [begin[place] for place in used]
    ends = [-end[place] or sys.maxsize for place in used]
    return [_cut(site, starts, ends, [axes[place] for place in used])]


def concat(site: Site) -> Gradients:
    """Cut the piece of each input out."""
    axis = int(site.attribute("axis", 1))
    sizes = [site.static(name, axis) for name in site.node.input]
    stops = list(itertools.accumulate(sizes))
    return [
        _cut(site, [stop - size], [stop], [axis]) if site.needs(index) else None
        for index, (size, stop) in enumerate(zip(sizes, stops, strict=True))
    ]


def reduce_mean(site: Site) -> Gradients:
    """Spread evenly over what was averaged."""
    rank = len(site.shape(site.input(0)))
    axes = site.constant(1).tolist() if site.input(1) else site.attribute("axes", [])
    if not axes:
        if site.attribute("noop_with_empty_axes", 0):
            return [site.gradient]
        axes = range(rank)
    axes = sorted(axis % rank for axis in axes)
    sizes = {axis: site.static(site.input(0), axis) for axis in axes}
    gradient = site.emit.op("Mul", [site.gradient, site.emit.array(1 / np.prod(list(sizes.values())))])
    if not site.attribute("keepdims", 1):
        gradient = site.emit.op("Unsqueeze", [gradient, site.emit.integers(axes)])
    return [site.emit.op("Expand", [gradient, site.emit.integers([sizes.get(axis, 1) for axis in range(rank)])])]


def _bounds(start: int, end: int, step: int) -> tuple[int, int | None]:
    """Translate ONNX's bounds to Python's: an end below every index means "through the first"."""
    return start, None if step < 0 and end <= -sys.maxsize // 2 else end


def _unslice(site: Site, gradient: str, axis: int, taken: slice) -> str:
    if site.shape(site.input(0))[axis] is None:
        if (taken.start, taken.step) == (0, 1) and taken.stop >= 2**31 - 1:
            return gradient
        raise site.refuse("it slices the batch")
    size = site.static(site.input(0), axis)
    positions = range(size)[taken]
    if positions == range(size):
        return gradient
    axis %= len(site.shape(site.input(0)))
    if positions.step == 1:
        return _padded(site, gradient, axis, positions.start, size - positions.stop)
    return scattered(site, gradient, axis, size, positions)


def _padded(site: Site, gradient: str, axis: int, before: int, after: int) -> str:
    rank = len(site.shape(site.input(0)))
    pads = [0] * 2 * rank
    pads[axis], pads[rank + axis] = before, after
    return site.emit.op("Pad", [gradient, site.emit.integers(pads)])


def scattered(site: Site, gradient: str, axis: int, size: int, positions: Sequence[int]) -> str:
    """Write values to different positions of an axis, zero elsewhere.

    One zero is appended along the axis, then gathered: every place that was not read takes it.
    """
    source = np.full(size, len(positions))
    source[list(positions)] = np.arange(len(positions))
    extended = _padded(site, gradient, axis, 0, 1)
    return site.emit.op("Gather", [extended, site.emit.integers(source)], {"axis": axis})


def _cut(site: Site, starts: list[int], ends: list[int], axes: list[int]) -> str:
    emit = site.emit
    return emit.op("Slice", [site.gradient, emit.integers(starts), emit.integers(ends), emit.integers(axes)])
