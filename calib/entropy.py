"""Entropy calibration: the threshold whose quantized distribution tells least apart from the real one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .histogram import Counts, Observed

SIGNED_LEVELS = 128
"""Levels on either side of zero when the tensor takes both signs."""

UNSIGNED_LEVELS = 256
"""Levels when it does not, all on one side."""

_STRIDE = 4  # candidate thresholds lie four bins apart: at most 0.2 % of the peak, half a quantization step

Doubles = NDArray[np.float64]


def entropy(observed: Observed) -> tuple[float, float]:
    """Clip at the magnitude that minimises the Kullback-Leibler divergence caused by quantization.

    One threshold on ``|x|`` cuts both tails, and no side is widened beyond its own extreme. The count of the bin at
    zero is replaced by its neighbour's: zero is exact at every scale, and left in, the spike that a ReLU makes there
    would pull every threshold towards it.

    Two cases are beyond the algorithm, and keep their extremes. Fewer values than bins are no density: of ten normal
    values it kept the range of the smaller half. And a candidate that cuts off most values puts all of them into one
    bin, where P and Q agree perfectly: of a tensor that lies around 1 +- 0.02 it made the constant 0.91. So a candidate
    has to keep at least half of the values.

    Args:
        observed: What the tensor did, with histogram.

    Returns:
        (low, high).

    Reference:
        Migacz 2017, "8-bit inference with TensorRT", GTC S7310, the algorithm on the slides "Pseudocode" and
        "Candidate distribution Q". Differences: the two cases above; 256 levels for one-sided tensors; 2048 to 4096
        bins, as many as lie below the peak; the sums over bins are taken from running sums, which gives the same
        divergence in one step for all candidates.
    """
    magnitudes = observed.magnitudes()
    levels = SIGNED_LEVELS if observed.minimum < 0 < observed.maximum else UNSIGNED_LEVELS
    if magnitudes.size <= levels or magnitudes[1:].sum() < magnitudes.size:
        return observed.clipped_at(observed.peak)
    magnitudes = without_zero_spike(magnitudes)
    sizes = candidate_sizes(magnitudes.size, levels)
    sizes = sizes[2 * np.cumsum(magnitudes)[sizes - 1] >= magnitudes.sum()]
    best = sizes[int(np.argmin(divergences(magnitudes, sizes, levels)))]
    return observed.clipped_at(float(best * observed.bin_width))


def without_zero_spike(magnitudes: Counts) -> Counts:
    """Give a copy whose first bin counts as many values as the second."""
    copy = magnitudes.copy()
    copy[0] = copy[1]
    return copy


def candidate_sizes(bins: int, levels: int) -> NDArray[np.int64]:
    """Give how many bins each candidate keeps: down from all of them, in equal strides, to one bin per level."""
    return np.arange(bins, levels - 1, -_STRIDE, dtype=np.int64)


def divergences(magnitudes: Counts, sizes: NDArray[np.int64], levels: int) -> Doubles:
    """Compute KL(P || Q) for each candidate threshold.

    P is the first ``size`` bins with everything beyond added to the last; Q is those bins without the addition, summed
    into ``levels`` levels (bin j into level ``j * levels // size``), each spread evenly over the bins of P that are not
    empty. With h the counts, m and n a level's sum and number of non-empty bins, N and M the sums of P and Q:
    ``N KL = sum p log p - sum_levels m log(m / n) - outliers * log(q of the last bin) + N log(M / N)``.

    Args:
        magnitudes: (bins,) int64 counts of |x|.
        sizes: (k,) number of bins each candidate keeps, each in levels..bins.
        levels: Number of quantization levels.

    Returns:
        (k,) float64 in nats, infinite where Q is zero at a bin that P fills.
    """
    counts = magnitudes.astype(np.float64)
    total = counts.sum()
    kept = _running(counts)[sizes]
    outliers = total - kept
    last = counts[sizes - 1]
    own = _running(_xlogx(counts))[sizes] - _xlogx(last) + _xlogx(last + outliers)
    sums, filled = _levels(counts, sizes, levels)
    filled[:, -1] += (last == 0) & (outliers > 0)  # outliers fill the last bin of P where no value did
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.log(np.where(sums > 0, sums / filled, 1.0))
        at_last = np.where(outliers > 0, outliers * np.log(sums[:, -1] / filled[:, -1]), 0.0)
        result = (own - (sums * spread).sum(axis=1) - at_last + total * np.log(kept / total)) / total
    return np.where(kept > 0, result, np.inf)


def _levels(counts: Doubles, sizes: NDArray[np.int64], levels: int) -> tuple[Doubles, Doubles]:
    # bin j belongs to level j * levels // size, so level l begins at ceil(l * size / levels)
    edges = -(-np.arange(levels + 1) * sizes[:, None] // levels)
    sums = np.diff(_running(counts)[edges], axis=1)
    filled = np.diff(_running((counts > 0).astype(np.float64))[edges], axis=1)
    return sums, filled


def _running(values: Doubles) -> Doubles:
    return np.concatenate([[0.0], np.cumsum(values)])


def _xlogx(values: Doubles) -> Doubles:
    return values * np.log(np.where(values > 0, values, 1.0))
