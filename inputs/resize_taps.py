"""Which source pixels make an output pixel, and with what weight, along one axis. No pixel is touched here.

The libraries differ in four choices and nothing else: the kernel, where an output pixel's centre lies in the source,
whether the kernel widens with the reduction, and what stands beyond the border.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """One library's way of resampling an axis.

    Attributes:
        kernel: A name of ``KERNELS``.
        coordinates: A name of ``COORDINATES``.
        antialias: Whether the kernel widens with the reduction, so that every source pixel counts.
        border: ``"renormalise"`` leaves out the taps beyond the border, ``"replicate"`` gives their weight to the edge.
        fixed_point: Whether the weights are 16-bit integers and each pass rounds to uint8 (torch); else both passes
            run in floating point and the result is rounded once, half to even.
    """

    kernel: str = "linear"
    coordinates: str = "half-pixel"
    antialias: bool = False
    border: str = "renormalise"
    fixed_point: bool = False


@dataclass(frozen=True)
class Taps:
    """The weights of one axis.

    Attributes:
        first: (outputs,) int64, the first source pixel of each output pixel; all its taps lie inside the source.
        weights: (outputs, taps) float64, those of the source pixels from ``first`` on; each row sums to 1.
    """

    first: NDArray[np.int64]
    weights: Floats


def axis_taps(sampling: Sampling, source: int, outputs: int) -> Taps:
    """Give the taps of all output pixels of one axis.

    Args:
        sampling: The library's way.
        source: Pixels there are, at least 1.
        outputs: Pixels wanted, at least 1.

    Returns:
        The taps, cut to the source.

    Reference:
        Pillow's and torch's antialias: ``precompute_coeffs`` of Pillow's Resample.c. Without antialias: the resize
        operator of ONNX, which defines the same three coordinate rules.
    """
    kernel, radius = KERNELS[sampling.kernel]
    stretch = max(source / outputs, 1.0) if sampling.antialias else 1.0
    centres = COORDINATES[sampling.coordinates](np.arange(outputs, dtype=np.float64), source, outputs)
    first = np.ceil(centres - radius * stretch).astype(np.int64)
    positions = first[:, None] + np.arange(int(2 * radius * stretch) + 1)
    weights = kernel((positions - centres[:, None]) / stretch)
    if sampling.border == "renormalise":
        weights[(positions < 0) | (positions >= source)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return _cut(first, weights, source)


def _cut(first: NDArray[np.int64], weights: Floats, source: int) -> Taps:
    """Move what lies beyond the border onto the edge, and the window of taps inside."""
    taps = weights.shape[1]
    width = min(taps, source)
    start = first.clip(0, source - width)
    inside = weights[:, :width].copy()
    beyond = np.flatnonzero((first < 0) | (first + taps > source))  # few: most lie far from the border
    columns = (first[beyond, None] + np.arange(taps)).clip(0, source - 1) - start[beyond, None]
    inside[beyond] = 0
    np.add.at(inside, (beyond[:, None], columns.clip(0, width - 1)), weights[beyond])
    return Taps(start, inside)


def _linear(distance: Floats) -> Floats:
    return (1 - np.abs(distance)).clip(0)


def _cubic(a: float) -> Callable[[Floats], Floats]:
    def kernel(distance: Floats) -> Floats:
        x = np.abs(distance)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    return kernel


KERNELS: Mapping[str, tuple[Callable[[Floats], Floats], int]] = {
    "cubic-0.5": (_cubic(-0.5), 2),
    "cubic-0.75": (_cubic(-0.75), 2),
    "linear": (_linear, 1),
}
"""Name to kernel over the distance in pixels, and its radius. Cubics: Keys 1981, eq. 4 with a = -0.5 and -0.75."""


def _half_pixel(index: Floats, source: int, outputs: int) -> Floats:
    return (index + 0.5) * (source / outputs) - 0.5


def _asymmetric(index: Floats, source: int, outputs: int) -> Floats:
    return index * (source / outputs)


def _align_corners(index: Floats, source: int, outputs: int) -> Floats:
    return index * ((source - 1) / max(outputs - 1, 1))


COORDINATES: Mapping[str, Callable[[Floats, int, int], Floats]] = {
    "align-corners": _align_corners,
    "asymmetric": _asymmetric,
    "half-pixel": _half_pixel,
}
"""Name to the source position of an output pixel, as the ONNX operator Resize names them."""
