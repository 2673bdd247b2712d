"""Weights on a grid of few levels: integer codes and one scale per channel. How to choose them well lives in calib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightCodes:
    """A weight tensor on a symmetric integer grid, zero point 0; its value is ``codes * scales`` along ``axis``.

    Attributes:
        codes: int8 in the weight's own shape, each of magnitude at most ``level_limit(bits)``.
        scales: (channels,) float32, positive and finite: the step of each channel's grid.
        axis: The axis of ``codes`` that counts channels, 0 <= axis < codes.ndim.
        bits: Width of the grid, 2..8; the container is int8 whatever the width.

    Raises:
        InputError: If types, shapes or values break these rules.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int
    bits: int

    def __post_init__(self) -> None:
        limit = level_limit(self.bits)
        channels = _channels(self.codes, self.axis)
        if self.codes.dtype != np.int8 or self.scales.dtype != np.float32:
            raise InputError(f"Expected int8 codes and float32 scales, got {self.codes.dtype} and {self.scales.dtype}.")
        if self.scales.shape != (channels,):
            raise InputError(f"Expected {channels} scales, one per channel, got shape {self.scales.shape}.")
        if not (np.isfinite(self.scales).all() and (self.scales > 0).all()):
            raise InputError("Expected positive, finite scales. Give a channel of zeros the scale 1.")
        # int16, because the magnitude of -128 does not fit in int8
        if np.abs(self.codes.astype(np.int16)).max(initial=0) > limit:
            raise InputError(f"Expected codes in -{limit}..{limit} for {self.bits} bits, got larger ones.")

    def values(self) -> NDArray[np.float32]:
        """Give the weights that the codes stand for: float32 in the weight's shape."""
        return np.asarray(self.codes * along(self.scales, self.axis, self.codes.ndim), np.float32)


def level_limit(bits: int) -> int:
    """Give the largest code of a symmetric grid, 2**(bits - 1) - 1: the grid is 2**bits - 1 levels around 0.

    Raises:
        InputError: If no grid of that width exists.

    Example:
        >>> [level_limit(bits) for bits in (2, 4, 8)]
        [1, 7, 127]
    """
    if not 2 <= bits <= 8:
        raise InputError(f"Expected `bits` in 2..8, got {bits}.")
    return int(2 ** (bits - 1) - 1)


def along(channel_values: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    """Reshape (channels,) values so that they broadcast along one axis of an ``ndim``-dimensional tensor."""
    shape = [1] * ndim
    shape[axis] = -1
    return channel_values.reshape(shape)


def round_to_nearest(weight: NDArray[np.float32], bits: int, axis: int) -> WeightCodes:
    """Put a weight tensor on the grid whose outermost level is each channel's largest magnitude.

    This is the baseline every better choice of scales and codes is measured against.

    Args:
        weight: Any shape, float32, finite.
        bits: Width of the grid, 2..8.
        axis: The axis that counts channels.

    Returns:
        The codes, rounded half to even; a channel without a scale (all zeros, or too small for float32) gets scale 1.

    Raises:
        InputError: If the width, the axis or a value does not fit.

    Reference:
        Krishnamoorthi 2018, arXiv 1806.08342, eq. 6-8, per channel (section 2.2).

    Example:
        >>> round_to_nearest(np.float32([[0.7, -0.16], [0.0, 0.0]]), bits=4, axis=0).codes
        array([[ 7, -2],
               [ 0,  0]], dtype=int8)
    """
    if not np.isfinite(weight).all():
        raise InputError("Expected finite weights, got NaN or infinity. Export the model again.")
    channels = _channels(weight, axis)
    rows = np.abs(np.moveaxis(weight, axis, 0).reshape(channels, -1))
    scales = (rows.max(axis=1, initial=0.0).astype(np.float64) / level_limit(bits)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0
    return codes_for(weight, scales, bits, axis)


def codes_for(weight: NDArray[np.float32], scales: NDArray[np.float32], bits: int, axis: int) -> WeightCodes:
    """Round a weight tensor half to even on a grid with given scales; what lies outside goes to the outermost level.

    Args:
        weight: Any shape, float32, finite.
        scales: (channels,) float32, positive and finite.
        bits: Width of the grid, 2..8.
        axis: The axis that counts channels.

    Returns:
        The codes.

    Raises:
        InputError: If the width, the axis or the scales do not fit.
    """
    limit = level_limit(bits)
    _channels(weight, axis)
    levels = np.rint(weight / along(scales, axis, weight.ndim))
    return WeightCodes(codes=np.clip(levels, -limit, limit).astype(np.int8), scales=scales, axis=axis, bits=bits)


def _channels(weight: NDArray[Any], axis: int) -> int:
    if not 0 <= axis < weight.ndim:
        raise InputError(f"Expected an `axis` in 0..{weight.ndim - 1}, got {axis}.")
    return int(weight.shape[axis])
