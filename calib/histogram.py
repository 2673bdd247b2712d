"""What is remembered of one activation tensor: exact extremes and a signed histogram on a power-of-two grid.

The grid is what makes one pass over the images enough. A tensor whose largest magnitude is below ``2**exponent`` is
counted in ``2 * SIDE_BINS`` bins of width ``2**exponent / SIDE_BINS`` over ``[-2**exponent, 2**exponent)``. Scaling a
float32 by a power of two and taking the floor are both exact (down to values 2**130 times below the largest), so there
is no doubt at bin edges; and when a later image needs a wider range, pairs of bins merge exactly. So the final
histogram does not depend on the order of the images or on how they were shared between threads, and its bins are never
wider than 1/2048 of the largest magnitude.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Counts = NDArray[np.int64]

SIDE_BINS = 4096
"""Bins on either side of zero; the largest magnitude falls into the upper 2048 of them."""

_LOWEST_EXPONENT = -100  # keeps the scale 2**(12 - exponent) finite in float32


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The summary of every value one tensor took.

    Attributes:
        minimum: Smallest value, exact.
        maximum: Largest value, exact.
        exponent: The grid: all values lie in ``[-2**exponent, 2**exponent)``.
        counts: (2 * SIDE_BINS,) int64, or None where only the extremes were asked for. Bin ``SIDE_BINS + k`` counts
            the values in ``[k * bin_width, (k + 1) * bin_width)``.
    """

    minimum: float
    maximum: float
    exponent: int
    counts: Counts | None

    def to_json(self) -> dict[str, Any]:
        """Give the summary as JSON data; the counts compressed, little-endian, in base64."""
        counts = None if self.counts is None else zlib.compress(self.counts.astype("<i8").tobytes())
        return {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "exponent": self.exponent,
            "counts": None if counts is None else base64.b64encode(counts).decode(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Observed:
        """Read back what `to_json` gave."""
        packed = document["counts"]
        content = None if packed is None else zlib.decompress(base64.b64decode(packed))
        return cls(
            minimum=document["minimum"],
            maximum=document["maximum"],
            exponent=document["exponent"],
            counts=None if content is None else np.frombuffer(content, "<i8").astype(np.int64),
        )

    @property
    def bin_width(self) -> float:
        """Width of a bin, in the tensor's own unit."""
        return math.ldexp(1.0, self.exponent) / SIDE_BINS

    @property
    def peak(self) -> float:
        """Largest magnitude, exact."""
        return max(abs(self.minimum), abs(self.maximum))

    def magnitudes(self) -> Counts:
        """Give the histogram of the magnitudes: bin ``k`` counts values with ``|x|`` in bin ``k`` of the positive side.

        Returns:
            (n,) int64, ending with the bin of the peak; 2048 <= n <= 4096 unless the tensor is all zero.
        """
        counts = self.signed()
        folded = counts[SIDE_BINS:] + counts[SIDE_BINS - 1 :: -1]
        return folded[: int(np.flatnonzero(folded).max(initial=0)) + 1]

    def signed(self) -> Counts:
        """Give the signed histogram, (2 * SIDE_BINS,) int64."""
        assert self.counts is not None, "a method that needs a histogram ran on a tensor observed without one"
        return self.counts

    def clipped_at(self, threshold: float) -> tuple[float, float]:
        """Give the range that is left when magnitudes above ``threshold`` saturate, as (low, high)."""
        low = min(max(self.minimum, -threshold), threshold)
        high = min(max(self.maximum, -threshold), threshold)
        return low, high

    def merge(self, other: Observed) -> Observed:
        """Give the summary of both sets of values; exact, whatever the order."""
        exponent = max(self.exponent, other.exponent)
        counts = None
        if self.counts is not None and other.counts is not None:
            counts = coarsen(self.counts, exponent - self.exponent) + coarsen(other.counts, exponent - other.exponent)
        return Observed(
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            exponent=exponent,
            counts=counts,
        )


def grid_exponent(peak: float) -> int:
    """Give the smallest exponent with ``peak < 2**exponent``, the grid that holds a tensor of this magnitude.

    Zeros fit every grid, so a tensor that was only zero yet gets the finest and leaves the choice to what comes.
    """
    return max(math.frexp(peak)[1], _LOWEST_EXPONENT) if peak else _LOWEST_EXPONENT


def coarsen(counts: Counts, doublings: int) -> Counts:
    """Re-count a signed histogram on a grid ``2**doublings`` times as wide; exact.

    Args:
        counts: (2 * SIDE_BINS,) int64.
        doublings: How many times neighbouring bins are merged, >= 0.

    Returns:
        (2 * SIDE_BINS,) int64 with the same sum.
    """
    if doublings == 0:
        return counts
    numbers = np.arange(-SIDE_BINS, SIDE_BINS, dtype=np.int64) >> min(doublings, 63)
    merged = np.zeros_like(counts)
    np.add.at(merged, numbers + SIDE_BINS, counts)
    return merged
