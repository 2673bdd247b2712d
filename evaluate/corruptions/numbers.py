"""16-bit random codes and the quantiles they stand for, so that drawing is not what a corruption's time goes into.

A code u stands for the quantile at ``(u + 1/2) / 65536`` of whatever distribution a corruption asks for: a table
replaces the arithmetic. Every probability is met to 2**-16; the normal distribution ends at 4.3 standard deviations.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = 1 << 16
"""Number of codes."""


def draw_codes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Draw uniform 16-bit codes, four from each 64-bit word of the stream: ``shape``, uint16."""
    count = math.prod(shape)
    words = rng.integers(0, 1 << 64, -(-count // 4), dtype=np.uint64)
    return words.astype("<u8", copy=False).view("<u2")[:count].reshape(shape)


@cache  # 256 KiB
def normal_quantiles() -> NDArray[np.float32]:
    """Tabulate the standard normal quantile of every code: (65536,) float32, odd about the middle."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((code + 0.5) / CODES) for code in range(CODES // 2, CODES)])
    table = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    table.setflags(write=False)
    return table


def uniform_numbers(draws: NDArray[Any]) -> NDArray[Any]:
    """Give uniform numbers in [0, 1): what codes stand for, float32, or the numbers themselves if they are no codes."""
    if draws.dtype != np.uint16:
        return draws
    numbers = draws.astype(np.float32)
    numbers += np.float32(0.5)
    numbers *= np.float32(1 / CODES)
    return numbers


def normal_numbers(draws: NDArray[Any]) -> NDArray[Any]:
    """Give standard normal numbers: the quantiles of codes, float32, or the numbers themselves if they are no codes."""
    return normal_quantiles().take(draws) if draws.dtype == np.uint16 else draws
