"""MSE calibration: the threshold with the least expected squared error of quantization to uint8, or to fewer levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .histogram import SIDE_BINS, Observed

Doubles = NDArray[np.float64]

_STEPS = 128
_COARSE = 8


def mse(observed: Observed, *, bits: int = 8) -> tuple[float, float]:
    """Clip at the magnitude with the least mean squared difference between a value and its image on the grid.

    One threshold on ``|x|`` cuts both tails, and no side is widened beyond its own extreme. The thresholds tried are
    ``peak * k / 128``: every eighth of k = 8..128 first, then all within eight of the best. The error is that of
    asymmetric quantization to ``2**bits`` levels with zero among them, rounding and saturation together, integrated
    over each bin as if its values were spread evenly in it; the two bins beside zero count as zero, which is exact at
    every scale.

    Args:
        observed: What the tensor did, with histogram.
        bits: Width of the grid, 2..8.

    Returns:
        (low, high).

    Reference:
        Sung, Shin, Hwang 2015, arXiv 1511.06488 (step size by least squared error); Choukroun et al. 2019,
        arXiv 1902.06822.
    """
    if observed.peak == 0:
        return observed.minimum, observed.maximum
    bins = filled_bins(observed)

    def error(k: int) -> float:
        return expected_error(bins, *observed.clipped_at(observed.peak * k / _STEPS), bits=bits)

    coarse = _least(error, range(_STEPS, 0, -_COARSE))
    fine = _least(error, range(min(coarse + _COARSE, _STEPS), max(coarse - _COARSE, 0), -1))
    return observed.clipped_at(observed.peak * fine / _STEPS)


def _least(error: Callable[[int], float], steps: Iterable[int]) -> int:
    return min(steps, key=error)  # of equals the first, which saturates least


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Neighbouring bins cut to the values' extremes.

    Attributes:
        edges: (n + 1,) ascending, in the tensor's unit.
        share: (n,) share of all values in each bin, 0 for the two bins beside zero.
        points: Indices of bins too narrow to hold anything but one value, where an extreme sits on a bin's edge.
    """

    edges: Doubles
    share: Doubles
    points: NDArray[np.intp]


def filled_bins(observed: Observed) -> Bins:
    """Give the bins from that of the minimum to that of the maximum."""
    counts = observed.signed()
    filled = np.flatnonzero(counts)
    first, end = int(filled[0]), int(filled[-1]) + 1
    edges = (np.arange(first, end + 1) - SIDE_BINS) * observed.bin_width
    edges = np.clip(edges, observed.minimum, observed.maximum)
    share = counts[first:end] / counts.sum()
    share[max(SIDE_BINS - 1 - first, 0) : max(SIDE_BINS + 1 - first, 0)] = 0.0
    return Bins(edges=edges, share=share, points=np.flatnonzero(np.diff(edges) < 1e-3 * observed.bin_width))


def expected_error(bins: Bins, low: float, high: float, *, bits: int = 8) -> float:
    """Compute the mean squared error of asymmetric quantization on [low, high], zero included.

    Args:
        bins: Where the values are.
        low: Lower end, in the tensor's unit.
        high: Upper end.
        bits: Width of the grid: ``2**bits`` levels.

    Returns:
        The mean of ``(x - dequantized(x)) ** 2`` in the tensor's unit squared.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    last = 2**bits - 1
    scale = (high - low) / last
    zero_point = np.rint(-low / scale)
    bottom, top = -zero_point * scale, (last - zero_point) * scale
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.diff(_integral(bins.edges, scale, bottom, top)) / np.diff(bins.edges)
    value = bins.edges[bins.points]
    errors[bins.points] = (value - np.rint(np.clip(value, bottom, top) / scale) * scale) ** 2
    return float(bins.share @ errors)


def _integral(x: Doubles, scale: float, bottom: float, top: float) -> Doubles:
    # antiderivative of the squared error: per step of the grid scale**3 / 12, a cubic within, a cubic beyond the ends
    inside = np.minimum(np.maximum(x, bottom), top)
    steps = np.rint(inside / scale)
    rest, beyond = inside - steps * scale, x - inside
    return steps * (scale**3 / 12) + (rest * rest * rest + beyond * beyond * beyond) / 3
