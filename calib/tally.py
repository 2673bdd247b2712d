"""The running summary of one tensor in one thread, value after value, at about 1.9 ns each.

``floor(x * scale) + 1.5 * 2**23`` leaves the bin's number in the two low bytes of the float, and `cv2.calcHist` counts
pairs of bytes. Measured alternatives on one core, 1.2 million values: `cv2.calcHist` on float32 6 ns, `np.bincount` on
a cast copy 4 ns, `np.histogram` 35 ns. Neighbouring values count into two tables in turn, since an addition to a bin
waits for the one before it to the same bin: where most values are zero, behind a Relu, one table takes up to 3 ns.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .histogram import SIDE_BINS, Floats, Observed, coarsen, grid_exponent

_PIECE = 1 << 17  # values: 512 KB stay in the cache while they are looked at several times
_TABLES = 2
_EXACT = 1 << 24  # up to here a float32, which is what calcHist counts in, holds every whole number
_SHAPE = (_TABLES * 2 * SIDE_BINS // 256, 256)  # by the upper byte of table and bin, and the lower
_IN_TURN = np.arange(_PIECE, dtype=np.float32) % _TABLES
_NUMBER_IN_LOW_BYTES = np.float32(1.5 * 2**23 + SIDE_BINS) + 2 * SIDE_BINS * _IN_TURN


class NotFiniteError(ValueError):
    """There is an infinity or a NaN among the values."""


def scratch() -> Floats:
    """Give the work space that `Tally.add` needs; one per thread."""
    return np.empty(_PIECE, np.float32)


class Tally:
    """The extremes of all values so far and, if ``counted``, their histogram."""

    def __init__(self, *, counted: bool) -> None:
        self._minimum, self._maximum = math.inf, -math.inf
        self._exponent = grid_exponent(0.0)
        self._settled = np.zeros(2 * SIDE_BINS, np.int64) if counted else None
        self._recent = np.zeros(_SHAPE, np.float32)
        self._recent_values = 0

    def add(self, values: Floats, work: Floats) -> None:
        """Take values in.

        Args:
            values: float32 of any shape, contiguous.
            work: From `scratch`; overwritten.

        Raises:
            NotFiniteError: If a value is not finite; some may have been taken in by then.
        """
        flat = values.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            self._widen(float(piece.min()), float(piece.max()))
            if self._settled is not None:
                self._count(piece, work)

    def observed(self) -> Observed:
        """Give the summary; of no values at all, that of none but zeros."""
        counts = None
        if self._settled is not None:
            self._settle()
            counts = self._settled.copy()
        low, high = (self._minimum, self._maximum) if self._minimum <= self._maximum else (0.0, 0.0)
        return Observed(minimum=low, maximum=high, exponent=self._exponent, counts=counts)

    def _widen(self, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NotFiniteError(f"there are values from {low} to {high}")
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        exponent = grid_exponent(max(-self._minimum, self._maximum))
        if exponent > self._exponent:
            if self._settled is not None:
                self._settle()
                self._settled = coarsen(self._settled, exponent - self._exponent)
            self._exponent = exponent

    def _count(self, piece: Floats, work: Floats) -> None:
        if self._recent_values + piece.size > _EXACT:
            self._settle()
        numbers = work[: piece.size]
        np.multiply(piece, np.float32(math.ldexp(SIDE_BINS, -self._exponent)), out=numbers)
        np.floor(numbers, out=numbers)
        np.add(numbers, _NUMBER_IN_LOW_BYTES[: piece.size], out=numbers)
        pixels = numbers.view(np.uint8).reshape(1, -1, 4)  # little-endian: byte 1 is the upper one, byte 0 the lower
        ranges = [edge for size in _SHAPE for edge in (0, size)]
        cv2.calcHist([pixels], [1, 0], None, _SHAPE, ranges, self._recent, accumulate=True)
        self._recent_values += piece.size

    def _settle(self) -> None:
        assert self._settled is not None
        self._settled += self._recent.reshape(_TABLES, -1).sum(axis=0, dtype=np.int64)
        self._recent[:] = 0
        self._recent_values = 0
