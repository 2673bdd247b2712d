"""Percentile calibration: the largest magnitudes saturate, a fixed share of them."""

from __future__ import annotations

import math

import numpy as np

from ..core.errors import InputError
from .histogram import Observed

DEFAULT_PERCENT = 99.999
"""Share of the values that stays inside, in percent; ONNX Runtime's default."""

_ROUNDING = 1e-12  # 99.9 % of 8000 values are 7992, though 99.9 / 100 * 8000 is a little more


def percentile(observed: Observed, *, percent: float = DEFAULT_PERCENT) -> tuple[float, float]:
    """Clip at the magnitude that ``percent`` of the values do not exceed: the smallest such value seen, to one bin.

    One threshold on ``|x|`` cuts both tails, and no side is widened beyond its own extreme. This is what ONNX
    Runtime's percentile calibrator does by default; it answers with the lower edge of the bin where the share is
    reached, we interpolate inside that bin, so the two differ by at most one bin each, 1/2048 of the peak.

    Args:
        observed: What the tensor did, with histogram.
        percent: In percent, 0 < percent <= 100; 100 is min-max.

    Returns:
        (low, high).

    Raises:
        InputError: If ``percent`` is outside its range.

    Reference:
        Wu et al. 2020, arXiv 2004.09602, the paragraphs on calibration by percentile.
    """
    if not 0 < percent <= 100:
        raise InputError(f"Expected `percent` in (0, 100], got {percent}. 99.999 and 99.9 are usual.")
    cumulative = np.concatenate([[0], np.cumsum(observed.magnitudes())])
    rank = max(math.ceil(percent / 100 * cumulative[-1] * (1 - _ROUNDING)), 1)
    crossing = int(np.searchsorted(cumulative, rank)) - 1
    inside = (rank - cumulative[crossing]) / (cumulative[crossing + 1] - cumulative[crossing])
    return observed.clipped_at(float((crossing + inside) * observed.bin_width))
