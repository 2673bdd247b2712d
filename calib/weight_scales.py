"""Scales of weights by least squared error: per channel, exact, without any image."""

from __future__ import annotations

import numpy as np

from ..core.codes import WeightCodes, codes_for, level_limit
from ..core.errors import InputError
from .layers import Doubles, Floats

_SHARES = np.linspace(0.2, 1.0, 81)  # of the largest magnitude; at 2 bits a long-tailed channel wants 0.3
_ROUNDS = 8


def mse_codes(weight: Floats, bits: int, axis: int) -> WeightCodes:
    """Put a weight on the symmetric grid with the least squared error of each channel.

    Args:
        weight: Any shape, float32, finite.
        bits: Width of the grid, 2..8.
        axis: The axis that counts channels.

    Returns:
        The codes; a channel of zeros gets scale 1.

    Raises:
        InputError: If a value is not finite, or width or axis do not fit.
    """
    return codes_for(weight, mse_scales(weight, bits, axis), bits, axis)


def mse_scales(weight: Floats, bits: int, axis: int) -> Floats:
    """Choose each channel's step so that rounding to the grid costs the least squared error.

    81 steps are tried, from a fifth of the widest useful one to that itself, each with the error that its codes have
    at their own best step, ``w . c / c . c``. From the best of them codes and step are improved in turns, each turn
    lowering the error.

    Args:
        weight: Any shape, float32, finite.
        bits: Width of the grid, 2..8.
        axis: The axis that counts channels.

    Returns:
        (channels,) float32, positive.

    Raises:
        InputError: If a value is not finite, or the width does not fit.

    Reference:
        Sung, Shin, Hwang 2015, arXiv 1511.06488, section 3 (alternating step and codes, after Lloyd 1982).
    """
    limit = level_limit(bits)
    if not np.isfinite(weight).all():
        raise InputError("Expected finite weights, got NaN or infinity. Export the model again.")
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    widest = np.abs(rows).max(axis=1, initial=0.0) / limit
    dead = widest < np.finfo(np.float32).tiny
    widest[dead] = 1.0
    best, least = widest, np.full(len(rows), np.inf)
    for share in _SHARES:
        scales, errors = _fitted(rows, widest * share, limit)
        better = errors < least
        best, least = np.where(better, scales, best), np.where(better, errors, least)
    for _ in range(_ROUNDS):
        best, _ = _fitted(rows, best, limit)
    return np.where(dead, 1.0, best).astype(np.float32)


def _fitted(rows: Doubles, scales: Doubles, limit: int) -> tuple[Doubles, Doubles]:
    """Give the best step for the codes that these steps lead to, and its squared error."""
    codes = np.clip(np.rint(rows / scales[:, None]), -limit, limit)
    overlap = np.einsum("rk,rk->r", rows, codes)
    power = np.maximum(np.einsum("rk,rk->r", codes, codes), 1.0)
    return np.where(overlap > 0, overlap / power, scales), -overlap * overlap / power
