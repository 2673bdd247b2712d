"""Resampling an image by weights along its width and then its height: the part that every emulated resizer shares.

The weights of 16 neighbouring outputs are one small dense matrix, so that each pass is a handful of matrix products;
fixed-point sums stay below 2^24 in float32 (else float64), where they are exact whatever the order of summation.
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

_BLOCK = 16
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class _Pass:
    """One axis: the source pixels from ``start`` to ``stop``, and per block of outputs the first and weights."""

    outputs: int
    start: int
    stop: int
    blocks: tuple[tuple[int, NDArray[Any]], ...]


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
    narrow = cv2.transpose(_along_rows(cv2.transpose(wanted), across, sampling, last=False))
    return _along_rows(narrow, down, sampling, last=True)


def _along_rows(image: NDArray[Any], axis: _Pass, sampling: Sampling, *, last: bool) -> NDArray[Any]:
    """Resample the first axis of (H, W, 3), in uint8 where the result is rounded."""
    dtype = axis.blocks[0][1].dtype
    rounded = last or sampling.fixed_point
    lines = image.reshape(len(image), -1)
    resampled = np.empty((axis.outputs, lines.shape[1]), np.uint8 if rounded else dtype)
    for row, (first, matrix) in zip(range(0, axis.outputs, _BLOCK), axis.blocks, strict=True):
        sums = matrix @ lines[first : first + matrix.shape[1]].astype(dtype, copy=False)
        resampled[row : row + _BLOCK] = _rounded(sums, sampling) if rounded else sums
    return resampled.reshape(axis.outputs, *image.shape[1:])


def _rounded(sums: NDArray[Any], sampling: Sampling) -> NDArray[Any]:
    """Round to whole levels, still floats: half up where integers are shifted, else half to even."""
    if not sampling.fixed_point:
        return np.clip(np.rint(sums, out=sums), 0, 255, out=sums)
    sums += 0.5
    if sampling.kernel == "linear":  # no negative weights: inside the range, and the cast cuts as floor does
        return sums
    return np.clip(np.floor(sums, out=sums), 0, 255, out=sums)


@lru_cache(maxsize=64)  # building one takes half the time of resizing an image, and images share their sizes
def _axis_pass(sampling: Sampling, source: int, outputs: int, first: int, count: int) -> _Pass:
    taps = axis_taps(sampling, source, outputs)
    weights = _fixed_point(taps.weights) if sampling.fixed_point else taps.weights
    starts, weights = taps.first[first : first + count], weights[first : first + count]
    start, length = int(starts[0]), weights.shape[1]
    blocks = []
    for row in range(0, count, _BLOCK):
        local = starts[row : row + _BLOCK] - starts[row]
        matrix = np.zeros((len(local), int(local[-1]) + length), weights.dtype)
        matrix[np.arange(len(local))[:, None], local[:, None] + np.arange(length)] = weights[row : row + _BLOCK]
        blocks.append((int(starts[row]) - start, matrix))
    return _Pass(count, start, int(starts[-1]) + length, tuple(blocks))


def _fixed_point(weights: NDArray[np.float64]) -> NDArray[Any]:
    """Round weights to as many bits as the largest leaves in 16, divided by the scale again.

    Reference:
        torch, aten/src/ATen/native/cpu/UpSampleKernel.cpp, ``_compute_indices_int16_weights_aa``.
    """
    bits = 0
    while bits < 22 and int(0.5 + weights.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    whole = np.trunc(weights * (1 << bits) + np.copysign(0.5, weights))
    largest = 255 * np.abs(whole).sum(axis=1).max() + (1 << bits)
    return (whole / (1 << bits)).astype(np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64)
