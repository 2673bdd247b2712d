"""Resampling an image by weights along its width and then its height: the part that every emulated resizer shares.

The weights of eight neighbouring outputs are one small dense matrix, so that each pass is a handful of matrix products,
too small for BLAS to spread over threads; fixed-point sums stay below 2^24 in float32 (else float64), where they are
exact whatever the order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Window
from .resize_taps import Sampling, axis_taps

_BLOCK = 8
_CACHED = 1 << 16  # source values that are floats at a time
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class _Pass:
    """One axis: where its source pixels begin and end, and per block of outputs which of them, with what weights."""

    outputs: int
    start: int
    stop: int
    lines: NDArray[np.int64]  # (blocks, taps + 1), from start; the last is the line of ones
    weights: NDArray[Any]  # (blocks, _BLOCK, taps + 1)


def resize_separably(
    image: NDArray[np.uint8], height: int, width: int, window: Window, sampling: Sampling
) -> NDArray[np.uint8]:
    """Resize an image and keep a window, computing nothing else.

    Args:
        image: (H, W, 3) uint8.
        height: Rows of the whole resized image.
        width: Columns of the whole resized image.
        window: What is kept of it.
        sampling: The library's way.

    Returns:
        (window.height, window.width, 3) uint8.
    """
    across = _axis_pass(sampling, image.shape[1], width, window.left, window.width)
    down = _axis_pass(sampling, image.shape[0], height, window.top, window.height)
    wanted = np.ascontiguousarray(image[down.start : down.stop, across.start : across.stop])
    narrow = _along_lines(_turned(wanted), across, sampling, last=False)
    return _along_lines(_turned(narrow), down, sampling, last=True)


def _turned(image: NDArray[Any]) -> NDArray[Any]:
    """Transpose (H, W, 3) to (W + 1, H, 3) with a last line of ones, by which the matrices add what rounding needs."""
    lines = np.empty((image.shape[1] + 1, image.shape[0], 3), image.dtype)
    cv2.transpose(image, lines[:-1])
    lines[-1] = 1
    return lines


def _along_lines(image: NDArray[Any], axis: _Pass, sampling: Sampling, *, last: bool) -> NDArray[Any]:
    """Resample the first axis of (lines + 1, other side, 3), in uint8 where the result is rounded."""
    dtype = axis.weights.dtype
    rounded = last or sampling.fixed_point
    lines = image.reshape(len(image), -1)
    resampled = np.empty((len(axis.lines) * _BLOCK, lines.shape[1]), np.uint8 if rounded else dtype)
    blocks = max(1, _CACHED // (axis.lines.shape[1] * lines.shape[1]))
    for block in range(0, len(axis.lines), blocks):
        group = slice(block, block + blocks)
        sums = axis.weights[group] @ lines[axis.lines[group]].astype(dtype, copy=False)
        sums = sums.reshape(-1, lines.shape[1])
        top = block * _BLOCK
        resampled[top : top + len(sums)] = _rounded(sums, sampling) if rounded else sums
    return resampled[: axis.outputs].reshape(axis.outputs, *image.shape[1:])


def _rounded(sums: NDArray[Any], sampling: Sampling) -> NDArray[Any]:
    """Round to whole levels, still floats."""
    if not sampling.fixed_point:
        return np.clip(np.rint(sums, out=sums), 0, 255, out=sums)
    if (
        sampling.kernel == "linear"
    ):  # no negative weights: inside the range, and the cast to integers cuts as floor does
        return sums
    return np.clip(np.floor(sums, out=sums), 0, 255, out=sums)


@lru_cache(maxsize=256)  # building one takes a third of the time of resizing an image, and images share their sizes
def _axis_pass(sampling: Sampling, source: int, outputs: int, first: int, count: int) -> _Pass:
    taps = axis_taps(sampling, source, outputs)
    weights = _fixed_point(taps.weights) if sampling.fixed_point else taps.weights
    starts, weights = taps.first[first : first + count], weights[first : first + count]
    start, stop = int(starts[0]), int(starts[-1]) + weights.shape[1]
    block = np.arange(count) // _BLOCK
    width = int((starts - starts[block * _BLOCK]).max()) + weights.shape[1]
    origins = np.minimum(starts[::_BLOCK], stop - width)
    lines = np.full((len(origins), width + 1), stop - start)
    lines[:, :width] = (origins - start)[:, None] + np.arange(width)
    matrices = np.zeros((len(origins), _BLOCK, width + 1), weights.dtype)
    matrices[:, :, width] = 0.5 if sampling.fixed_point else 0  # half up, as an integer shift rounds
    offsets = (starts - origins[block])[:, None] + np.arange(weights.shape[1])
    matrices[block[:, None], np.arange(count)[:, None] % _BLOCK, offsets] = weights
    return _Pass(count, start, stop, lines, matrices)


def _fixed_point(weights: NDArray[np.float64]) -> NDArray[Any]:
    """Round weights to as many bits as the largest leaves in 16, divided by the scale again.

    Reference:
        torch, aten/src/ATen/native/cpu/UpSampleKernel.cpp, ``_compute_indices_int16_weights_aa``.
    """
    bits, largest = 0, float(weights.max())
    while bits < 22 and int(0.5 + largest * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    whole = np.trunc(weights * (1 << bits) + np.copysign(0.5, weights))
    bound = 255 * np.abs(whole).sum(axis=1).max() + 0.5 * (1 << bits)
    return (whole / (1 << bits)).astype(np.float32 if bound < _EXACT_IN_FLOAT32 else np.float64)
