"""Resampling an image by weights along its width and then its height: the part that every emulated resizer shares.

The weights of a few neighbouring outputs are one small dense matrix, so that each pass is a handful of matrix products,
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

_CACHED = 1 << 16  # source values that are floats at a time
_EXACT_IN_FLOAT32 = 1 << 24
_EXACT_BITS = 22  # 8 of the pixel and twice 22 are less than the 53 of a float64


@dataclass(frozen=True)
class _Pass:
    """One axis: where its source pixels begin and end, and per block of outputs which of them, with what weights."""

    outputs: int
    start: int
    stop: int
    middle: int  # what is taken from the pixels before the sums and given back after
    lines: NDArray[np.int64]  # (blocks, taps + 1), from start; the last is the line of ones
    weights: NDArray[Any]  # (blocks, outputs of a block, taps + 1)


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
    narrow = _along_lines(_turned(wanted, across), across, sampling, last=False)
    return _along_lines(_turned(narrow, down), down, sampling, last=True)


def _turned(image: NDArray[Any], axis: _Pass) -> NDArray[Any]:
    """Transpose (H, W, 3) to (W + 1, H, 3) with a last line of ones, by which the matrices add what rounding needs."""
    lines = np.empty((image.shape[1] + 1, image.shape[0], 3), image.dtype)
    cv2.transpose(image, lines[:-1])
    if axis.middle:
        lines = (lines ^ 128).view(np.int8)  # minus 128
    lines[-1] = 1
    return lines


def _along_lines(image: NDArray[Any], axis: _Pass, sampling: Sampling, *, last: bool) -> NDArray[Any]:
    """Resample the first axis of (lines + 1, other side, 3), in uint8 where the result is rounded."""
    dtype, size = axis.weights.dtype, axis.weights.shape[1]
    rounded = last or sampling.fixed_point
    lines = image.reshape(len(image), -1)
    resampled = np.empty((len(axis.lines) * size, lines.shape[1]), np.uint8 if rounded else dtype)
    blocks = max(1, _CACHED // (axis.lines.shape[1] * lines.shape[1]))
    for block in range(0, len(axis.lines), blocks):
        group = slice(block, block + blocks)
        sums = axis.weights[group] @ lines[axis.lines[group]].astype(dtype, copy=False)
        sums = sums.reshape(-1, lines.shape[1])
        top = block * size
        resampled[top : top + len(sums)] = _rounded(sums, sampling, axis.middle) if rounded else sums
    return resampled[: axis.outputs].reshape(axis.outputs, *image.shape[1:])


def _rounded(sums: NDArray[Any], sampling: Sampling, middle: int) -> NDArray[Any]:
    """Round to whole levels, still floats."""
    if not sampling.fixed_point:
        return np.clip(np.rint(sums, out=sums), 0, 255, out=sums)
    if sampling.kernel == "linear" and not middle:
        return sums  # no negative weights: inside the range, and the cast to integers cuts as floor does
    return np.clip(np.floor(sums, out=sums) + middle, 0, 255, out=sums)


@lru_cache(maxsize=256)  # building one takes a third of the time of resizing an image, and images share their sizes
def _axis_pass(sampling: Sampling, source: int, outputs: int, first: int, count: int) -> _Pass:
    taps = axis_taps(sampling, source, outputs)
    weights, middle = _fixed_point(taps.weights) if sampling.fixed_point else (_exact(taps.weights), 0)
    starts, weights = taps.first[first : first + count], weights[first : first + count]
    start, stop = int(starts[0]), int(starts[-1]) + weights.shape[1]
    size = 8 if weights.shape[1] <= 4 else 4  # long rows of weights overlap less
    block = np.arange(count) // size
    width = int((starts - starts[block * size]).max()) + weights.shape[1]
    origins = np.minimum(starts[::size], stop - width)
    lines = np.full((len(origins), width + 1), stop - start)
    lines[:, :width] = (origins - start)[:, None] + np.arange(width)
    matrices = np.zeros((len(origins), size, width + 1), weights.dtype)
    offsets = (starts - origins[block])[:, None] + np.arange(weights.shape[1])
    matrices[block[:, None], np.arange(count)[:, None] % size, offsets] = weights
    if sampling.fixed_point:  # half up, as an integer shift rounds
        matrices[:, :, width] = 0.5 + middle * (matrices.sum(axis=2) - 1)
    return _Pass(count, start, stop, middle, lines, matrices)


def _exact(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round weights so that float64 holds both passes exactly, and halves fall alike whatever the order of the sums."""
    return np.rint(weights * 2.0**_EXACT_BITS) / 2.0**_EXACT_BITS


def _fixed_point(weights: NDArray[np.float64]) -> tuple[NDArray[Any], int]:
    """Round weights to as many bits as the largest leaves in 16, divided by the scale again.

    Returns:
        The weights, of the type that holds their sums exactly, and the level around which it does: 128 halves the
        sums. What then still exceeds 2^24 lies so close to level 0 that a bit more or less rounds to 0.

    Reference:
        torch, aten/src/ATen/native/cpu/UpSampleKernel.cpp, ``_compute_indices_int16_weights_aa``.
    """
    bits, largest = 0, float(weights.max())
    while bits < 22 and int(0.5 + largest * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    scale = 1 << bits
    whole = np.trunc(weights * scale + np.copysign(0.5, weights))
    total = np.abs(whole).sum(axis=1).max()
    fits, halved_fits = (bound < _EXACT_IN_FLOAT32 for bound in (255 * total + scale / 2, 127.9 * total))
    return (whole / scale).astype(
        np.float32 if fits or halved_fits else np.float64
    ), 0 if fits or not halved_fits else 128
