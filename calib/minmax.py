"""Min-max calibration: nothing saturates."""

from __future__ import annotations

from .histogram import Observed


def minmax(observed: Observed) -> tuple[float, float]:
    """Give the smallest and the largest value seen, exactly.

    Zero is not forced into the range; the quantizer does that when it computes the scale.

    Args:
        observed: What the tensor did; its histogram is not needed.

    Returns:
        (low, high).

    Reference:
        Krishnamoorthi 2018, arXiv 1806.08342, the min-max quantizer parameters of activations.
    """
    return observed.minimum, observed.maximum
